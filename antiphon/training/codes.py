"""Turns the speech corpus into speech tokens with a trained tokenizer, in several processes."""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import torch

from antiphon.training.augment import augment
from antiphon.training.data import Codes, CodeStore, Record, SpeechCorpus, version_key
from antiphon.training.tokenizer_data import Batch, collate
from speech_tokenizer import SpeechTokenizer
from speech_tokenizer.modeling_whisper import WhisperVQEncoder

logger = logging.getLogger(__name__)

BATCH = 48
DEVICE_BATCH = 192
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EncodeTaskConfig:
    """How the corpus becomes codes.

    Attributes:
        data: Folder of the speech corpus; codes.bin and codes.jsonl go there too.
        tokenizer: Folder of the trained speech tokenizer.
        augmented_share: Share of the practice questions that are heard through an augmentation.
        n_versions: How often practice questions and readings are heard; after the first time always
            through an augmentation, another each time.
        is_wide: Whether the wide set of effects is used.
        n_workers: Processes, one thread each; threads where the device is no processor.
        device: Torch device of the tokenizer.
        seed: Seed of the augmentation.
    """

    data: str = "data/speech"
    tokenizer: str = "resources/embedded/tokenizer"
    augmented_share: float = 0.4
    n_versions: int = 1
    is_wide: bool = False
    n_workers: int = 2
    device: str = "cpu"
    seed: int = 2


HEARD_AGAIN = frozenset({"question", "reading"})
TRAINING = "train"  # the split that is learned from


@dataclass(frozen=True)
class Hearing:
    """An utterance to encode, for the first time (0) or once more."""

    record: Record
    version: int

    @property
    def key(self) -> str:
        """Name of its codes."""
        return version_key(self.record.id, self.version)


def all_hearings(config: EncodeTaskConfig, records: Sequence[Record]) -> list[Hearing]:
    """List what is to be heard: everything once, then what people say again and again.

    What is kept for validation is heard once: nobody learns from it.
    """
    again = [r for r in records if r.role in HEARD_AGAIN and r.split == TRAINING]
    return [Hearing(record, 0) for record in records] + [
        Hearing(record, version) for version in range(1, config.n_versions) for record in again
    ]


@torch.inference_mode()
def encode_batch(
    encoder: WhisperVQEncoder, waveforms: list[npt.NDArray[np.float32]]
) -> list[Codes]:
    """Encode waveforms of up to 30 s at 16 kHz; one array of codes each."""
    batch = collate(waveforms, encoder.config.num_mel_bins, [])
    return encode_collated(encoder, batch)


@torch.inference_mode()
def encode_collated(encoder: WhisperVQEncoder, batch: Batch) -> list[Codes]:
    """Encode a batch on the encoder's device; one array of codes each."""
    device = encoder.codebook.weight.device
    output = encoder(batch.features.to(device), batch.mask.to(device))
    rows = zip(output.quantized_token_ids.cpu(), output.token_mask.cpu(), strict=True)
    return [ids[mask].numpy().astype(np.int16) for ids, mask in rows]


def hear(
    config: EncodeTaskConfig, corpus: SpeechCorpus, hearings: Sequence[Hearing]
) -> list[Float32]:
    """Read utterances; what is heard again, and some practice questions, as it sounds elsewhere."""
    rng = np.random.default_rng([config.seed, hearings[0].record.start, hearings[0].version])
    waveforms = []
    for hearing in hearings:
        waveform = corpus.waveform(hearing.record)
        is_practice = hearing.record.role == "question" and hearing.record.split == TRAINING
        if hearing.version or (is_practice and rng.uniform() < config.augmented_share):
            waveform = augment(waveform, rng, is_wide=config.is_wide)
        waveforms.append(waveform)
    return waveforms


def _encode_chunk(job: tuple[EncodeTaskConfig, list[Hearing]]) -> list[tuple[str, Codes]]:
    """Encode some utterances in a worker process."""
    config, hearings = job
    torch.set_num_threads(1)
    encoder = SpeechTokenizer.from_pretrained(config.tokenizer).model
    corpus = SpeechCorpus(config.data)
    found = []
    for first in range(0, len(hearings), BATCH):
        chosen = hearings[first : first + BATCH]
        codes = encode_batch(encoder, hear(config, corpus, chosen))
        found += [(hearing.key, row) for hearing, row in zip(chosen, codes, strict=True)]
    return found


def _jobs(
    config: EncodeTaskConfig, hearings: list[Hearing], size: int = 960
) -> Iterator[tuple[EncodeTaskConfig, list[Hearing]]]:
    """Cut the work into chunks of like lengths inside."""
    for first in range(0, len(hearings), size):
        yield config, sorted(hearings[first : first + size], key=lambda each: each.record.n)


def encode_corpus(config: EncodeTaskConfig) -> None:
    """Encode what has no codes yet; stopped runs go on where they were."""
    store = CodeStore(config.data)
    done = store.load()
    wanted = all_hearings(config, SpeechCorpus(config.data).records)
    hearings = [hearing for hearing in wanted if hearing.key not in done]
    logger.info("%d utterances to encode, %d are done", len(hearings), len(done))
    if torch.device(config.device).type != "cpu":
        encode_on_device(config, store, hearings)
        return
    with get_context("spawn").Pool(config.n_workers) as pool:
        n_done = 0
        for found in pool.imap_unordered(_encode_chunk, _jobs(config, hearings)):
            store.append(found)
            n_done += len(found)
            logger.info("%d of %d utterances encoded", n_done, len(hearings))


def encode_on_device(config: EncodeTaskConfig, store: CodeStore, hearings: list[Hearing]) -> None:
    """Encode on one accelerator; threads read and change the sound of the next batches."""
    encoder = SpeechTokenizer.from_pretrained(config.tokenizer, device=config.device).model
    corpus = SpeechCorpus(config.data)
    ordered = sorted(hearings, key=lambda each: each.record.n)
    jobs = [ordered[first : first + DEVICE_BATCH] for first in range(0, len(ordered), DEVICE_BATCH)]

    def prepare(chosen: list[Hearing]) -> Batch:
        return collate(hear(config, corpus, chosen), encoder.config.num_mel_bins, [])

    n_done = 0
    with ThreadPoolExecutor(config.n_workers) as pool:
        waiting = deque(pool.submit(prepare, job) for job in jobs[: 2 * config.n_workers])
        for number, job in enumerate(jobs):
            codes = encode_collated(encoder, waiting.popleft().result())
            following = number + 2 * config.n_workers
            if following < len(jobs):
                waiting.append(pool.submit(prepare, jobs[following]))
            store.append((hearing.key, row) for hearing, row in zip(job, codes, strict=True))
            n_done += len(job)
            if number % 20 == 0:
                logger.info("%d of %d utterances encoded", n_done, len(hearings))
