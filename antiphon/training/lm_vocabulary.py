"""What the language model's text vocabulary is learned from, or taken from. Knows no network."""

import os
import random
import shutil
from pathlib import Path

from antiphon.dialogue.prompt import REPLY_MODE, system_prompt
from antiphon.training.domain.table import Domain
from antiphon.training.domain.words import as_written
from antiphon.training.lm_data import TRANSCRIPTION_MODE, typed_forms
from antiphon.training.lm_export import read_domain, write_domain
from antiphon.training.text_vocabulary import write_text_vocabulary

VOCABULARY_FILES = ("tokenizer.model", "tokenizer_config.json")


def vocabulary_texts(domain: Domain) -> list[str]:
    """List what the vocabulary is learned from: the domain, typed forms, the fixed prompts."""
    rng = random.Random(0)
    texts = domain.texts()
    plain = [as_written(text) for text in texts]
    typed = [typed_forms(text, rng) for text in texts[::3]]
    fixed = [system_prompt("speech"), system_prompt("text"), REPLY_MODE, TRANSCRIPTION_MODE]
    return plain + typed + 50 * fixed


def prepare_vocabulary(domain: Domain, start: str, out: str, n_ranks: int, n_codes: int) -> None:
    """Take over the text vocabulary of the model to start from, or learn one that is not there.

    Once it is there, several processes may do so at the same time.
    """
    folder = Path(out)
    if start:
        copy_vocabulary(Path(start), folder)
    elif not (folder / "tokenizer.model").exists() or read_domain(folder) != domain.name:
        write_text_vocabulary(folder, vocabulary_texts(domain), n_ranks, n_codes)
    write_domain(domain.name, domain.languages, folder)


def copy_vocabulary(start: Path, out: Path) -> None:
    """Take over the text vocabulary of a model or of a run."""
    out.mkdir(parents=True, exist_ok=True)
    for name in VOCABULARY_FILES:
        if start.resolve() != out.resolve():
            part = out / f"{name}.{os.getpid()}.part"  # others may read or write it meanwhile
            shutil.copyfile(start / name, part)
            part.replace(out / name)
