"""Reads what the language model practises from a corpus, and makes its batches in processes.

Knows no network.
"""

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.errors import ConfigError
from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer
from antiphon.training.corpus_plan import answer_key
from antiphon.training.data import CodeStore, SpeechCorpus
from antiphon.training.domain.table import Domain, find_domain
from antiphon.training.lm_data import Codes, Row, SegmentBuilder, stack_rows
from antiphon.training.lm_rows import RowSource, mixture_at
from antiphon.training.recogniser import BILINGUAL, ENGLISH

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RowSettings:
    """What rows are made of: folder of the corpus, name of the domain, tokens in a row."""

    data: str
    domain: str
    row_length: int


@dataclass(frozen=True)
class LmBatches:
    """Batches of rows for ever, drawn anew from a seed; made in worker processes.

    Attributes:
        settings: What rows are made of.
        vocabulary: Folder of the text vocabulary.
        rows: Rows in a batch.
        reload_every: Batches after which new codes are looked for.
        listening_until: Share of the run that is mostly listening.
        listened: Share of batches that are speech to spell.
        code_noise: Share of heard speech tokens that are replaced by a neighbour.
        codebook: (K, D), which says who is whose neighbour.
        fraction: (1,) share of the run that is done, in memory shared with the run.
    """

    settings: RowSettings
    vocabulary: str
    rows: int
    reload_every: int
    listening_until: float
    listened: float
    code_noise: float
    codebook: Tensor
    fraction: Tensor

    def __call__(self, seed: int) -> Iterator[Row]:
        """Yield batches, stacked: a process can hand over so many tensors at once and no more."""
        tokenizer = GlmTextTokenizer.from_pretrained(self.vocabulary)
        neighbours = nearest_codes(self.codebook)
        alphabet = alphabet_for(find_domain(self.settings.domain))
        builder = SegmentBuilder(
            tokenizer, neighbours, self.code_noise, random.Random(seed), alphabet
        )
        while True:
            source = read_source(self.settings, builder)
            batches = source.batches(self.rows)
            for _ in range(self.reload_every):
                source.mixture = mixture_at(
                    float(self.fraction), self.listening_until, self.listened
                )
                yield stack_rows(next(batches))


def alphabet_for(domain: Domain) -> str:
    """Choose the letters of a domain's languages."""
    return BILINGUAL if "zh" in domain.languages else ENGLISH


def spoken_answers(corpus: SpeechCorpus, codes: dict[str, Codes]) -> dict[str, Codes]:
    """Give the codes of each answer that has some, in the usual output voice, by its key."""
    spoken = (record for record in corpus.select("answer") if record.id in codes)
    return {answer_key(record.text, record.pace): codes[record.id] for record in spoken}


def read_source(settings: RowSettings, builder: SegmentBuilder) -> RowSource:
    """Read the corpus and the codes that exist now.

    Raises:
        ConfigError: If there are no codes yet.
    """
    corpus, codes = SpeechCorpus(settings.data), CodeStore(settings.data).load()
    answers = spoken_answers(corpus, codes)
    heard = [*corpus.select("question"), *corpus.select("reading")]
    records = [record for record in heard if record.id in codes]
    if not records or not answers:
        raise ConfigError(f"no speech tokens in {settings.data}: run `antiphon train codes` first")
    logger.info("%d questions, %d spoken answers", len(records), len(answers))
    domain = find_domain(settings.domain)
    return RowSource(builder, domain, records, codes, answers, settings.row_length)


def nearest_codes(codebook: Tensor, n: int = 6) -> Tensor:
    """Give the n nearest other codes of each code, (K, n)."""
    distances = torch.cdist(codebook, codebook)
    distances.fill_diagonal_(float("inf"))
    return distances.topk(n, largest=False).indices
