"""What the language model's text vocabulary is learned from, or taken from. Knows no network."""

import random
import shutil
from pathlib import Path

from antiphon.dialogue.prompt import REPLY_MODE, system_prompt
from antiphon.training.domain.table import Domain
from antiphon.training.lm_data import TRANSCRIPTION_MODE, typed_forms

VOCABULARY_FILES = ("tokenizer.model", "tokenizer_config.json")


def vocabulary_texts(domain: Domain) -> list[str]:
    """List what the vocabulary is learned from: the domain, typed forms, the fixed prompts."""
    rng = random.Random(0)
    plain = domain.texts()
    typed = [typed_forms(text, rng) for text in plain[::3]]
    fixed = [system_prompt("speech"), system_prompt("text"), REPLY_MODE, TRANSCRIPTION_MODE]
    return plain + typed + 50 * fixed


def copy_vocabulary(start: Path, out: Path) -> None:
    """Take over the text vocabulary of the model that a run goes on from."""
    out.mkdir(parents=True, exist_ok=True)
    for name in VOCABULARY_FILES:
        if start.resolve() != out.resolve():
            shutil.copyfile(start / name, out / name)
