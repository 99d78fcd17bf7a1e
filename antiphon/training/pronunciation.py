"""What words sound like: phones from the CMU pronouncing dictionary that pocketsphinx brings along.

Knows no audio. English spelling tells a small recogniser little of what was said ("bear", "chair");
phones do, and words share them.
"""

from functools import cache
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.training import lexicon
from antiphon.training.domain import facts_lexicon
from antiphon.training.grammar import normalise

PHONES = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH",
    "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH",
    "UW", "V", "W", "Y", "Z", "ZH",
)  # fmt: skip
PAUSE = len(PHONES)  # between words
N_PHONES = len(PHONES) + 1


def sphinx_model_folder() -> Path:
    """The folder of pocketsphinx's US English model.

    Raises:
        ConfigError: If pocketsphinx is not installed.
    """
    try:
        import pocketsphinx
    except ImportError as error:
        raise ConfigError("pocketsphinx is not installed: pip install 'antiphon[train]'") from error
    return Path(pocketsphinx.get_model_path()) / "en-us"


@cache
def pronouncing_dictionary() -> dict[str, tuple[int, ...]]:
    """Read the first pronunciation of every word, as places in `PHONES`."""
    place = {phone: index for index, phone in enumerate(PHONES)}
    text = (sphinx_model_folder() / "cmudict-en-us.dict").read_text(encoding="utf-8")
    lines = [*(line.split() for line in text.splitlines()), *own_pronunciations()]
    words: dict[str, tuple[int, ...]] = {}
    for word, *phones in lines:
        words.setdefault(word, tuple(place[phone] for phone in phones))
    return words


def own_pronunciations() -> list[list[str]]:
    """List what the dictionary lacks, as its lines."""
    own = lexicon.PRONUNCIATIONS | facts_lexicon.PRONUNCIATIONS
    return [[word, *phones.split()] for word, phones in own.items()]


def phone_labels(text: str) -> list[int]:
    """Spell a text in phones, a pause between words.

    Raises:
        ConfigError: If a word is not in the dictionary.
    """
    labels: list[int] = []
    for word in normalise(text).split():
        phones = pronouncing_dictionary().get(word)
        if phones is None:
            raise ConfigError(
                f"no pronunciation of {word!r}: add it to PRONUNCIATIONS in training/lexicon.py"
            )
        labels += [*phones, PAUSE]
    return labels[:-1]
