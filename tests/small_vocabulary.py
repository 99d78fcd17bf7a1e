"""A text vocabulary of a few words with a few speech tokens, for tests of training data."""

import random
from pathlib import Path

import numpy as np
import torch

from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer
from antiphon.training.lm_data import Codes, Segment, SegmentBuilder
from antiphon.training.text_vocabulary import write_text_vocabulary

N_AUDIO = 32


def small_tokenizer(folder: Path) -> GlmTextTokenizer:
    """Write the vocabulary to a folder and load it."""
    write_text_vocabulary(folder, ["what is seven plus two"] * 9, 300, N_AUDIO)
    return GlmTextTokenizer.from_pretrained(folder)


def small_builder(tokenizer: GlmTextTokenizer) -> SegmentBuilder:
    """Make a builder of exchanges; the neighbour of a code is the one below it."""
    neighbours = torch.arange(N_AUDIO)[:, None].roll(1, 0)
    return SegmentBuilder(tokenizer, neighbours, 0.0, random.Random(1))


def codes(*values: int) -> Codes:
    """Speech tokens as a corpus has them."""
    return np.array(values, dtype=np.int16)


def learned(segment: Segment) -> list[int]:
    """The tokens that an exchange teaches."""
    return [target for target in segment.targets if target >= 0]
