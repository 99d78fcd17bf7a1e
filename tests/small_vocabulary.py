"""A text vocabulary of a few words with a few speech tokens, for tests of training data."""

from pathlib import Path

from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer
from antiphon.training.text_vocabulary import write_text_vocabulary

N_AUDIO = 32


def small_tokenizer(folder: Path) -> GlmTextTokenizer:
    """Write the vocabulary to a folder and load it."""
    write_text_vocabulary(folder, ["what is seven plus two"] * 9, 300, N_AUDIO)
    return GlmTextTokenizer.from_pretrained(folder)
