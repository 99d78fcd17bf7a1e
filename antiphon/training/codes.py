"""Turns the speech corpus into speech tokens with a trained tokenizer, in several processes."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import torch

from antiphon.training.augment import augment
from antiphon.training.data import CodeStore, Record, SpeechCorpus
from antiphon.training.tokenizer_task import collate
from speech_tokenizer import SpeechTokenizer
from speech_tokenizer.modeling_whisper import WhisperVQEncoder

logger = logging.getLogger(__name__)

BATCH = 48
Codes = npt.NDArray[np.int16]


@dataclass(frozen=True)
class EncodeTaskConfig:
    """How the corpus becomes codes.

    Attributes:
        data: Folder of the speech corpus; codes.bin and codes.jsonl go there too.
        tokenizer: Folder of the trained speech tokenizer.
        augmented_share: Share of the questions that are heard through an augmentation.
        n_workers: Processes, one thread each.
        seed: Seed of the augmentation.
    """

    data: str = "data/speech"
    tokenizer: str = "resources/embedded/tokenizer"
    augmented_share: float = 0.4
    n_workers: int = 2
    seed: int = 2


@torch.inference_mode()
def encode_batch(
    encoder: WhisperVQEncoder, waveforms: list[npt.NDArray[np.float32]]
) -> list[Codes]:
    """Encode waveforms of up to 30 s at 16 kHz; one array of codes each."""
    batch = collate(waveforms, encoder.config.num_mel_bins, [])
    output = encoder(batch.features, batch.mask)
    rows = zip(output.quantized_token_ids, output.token_mask, strict=True)
    return [ids[mask].numpy().astype(np.int16) for ids, mask in rows]


def _encode_chunk(job: tuple[EncodeTaskConfig, list[Record]]) -> list[tuple[str, Codes]]:
    """Encode some records in a worker process."""
    config, records = job
    torch.set_num_threads(1)
    encoder = SpeechTokenizer.from_pretrained(config.tokenizer).model
    corpus = SpeechCorpus(config.data)
    rng = np.random.default_rng([config.seed, records[0].start])
    found = []
    for first in range(0, len(records), BATCH):
        chosen = records[first : first + BATCH]
        waveforms = [corpus.waveform(record) for record in chosen]
        heard = [
            augment(w, rng)
            if r.role == "question" and rng.uniform() < config.augmented_share
            else w
            for r, w in zip(chosen, waveforms, strict=True)
        ]
        codes = encode_batch(encoder, heard)
        found += [(record.id, row) for record, row in zip(chosen, codes, strict=True)]
    return found


def _jobs(
    config: EncodeTaskConfig, records: list[Record], size: int = 960
) -> Iterator[tuple[EncodeTaskConfig, list[Record]]]:
    """Cut the work into chunks of like lengths inside."""
    for first in range(0, len(records), size):
        yield config, sorted(records[first : first + size], key=lambda record: record.n)


def encode_corpus(config: EncodeTaskConfig) -> None:
    """Encode what has no codes yet; stopped runs go on where they were."""
    store = CodeStore(config.data)
    done = store.load()
    records = [r for r in SpeechCorpus(config.data).records if r.id not in done]
    logger.info("%d utterances to encode, %d are done", len(records), len(done))
    with get_context("spawn").Pool(config.n_workers) as pool:
        n_done = 0
        for found in pool.imap_unordered(_encode_chunk, _jobs(config, records)):
            store.append(found)
            n_done += len(found)
            logger.info("%d of %d utterances encoded", n_done, len(records))
