"""What words sound like: phones from the CMU pronouncing dictionary that pocketsphinx brings along.

Knows no audio. English spelling tells a small recogniser little of what was said ("bear", "chair");
phones do, and words share them.
"""

import re
from functools import cache
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.training import lexicon
from antiphon.training.domain import facts_lexicon
from antiphon.training.domain.pinyin import to_pinyin
from antiphon.training.grammar import normalise

PHONES = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH",
    "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH",
    "UW", "V", "W", "Y", "Z", "ZH",
)  # fmt: skip
PAUSE = len(PHONES)  # between words
N_PHONES = len(PHONES) + 1
# Mandarin: what a syllable begins with, what it ends with, its tone.
_INITIALS = "zh ch sh b p m f d t n l g k h j q x r z c s y w"
_FINALS = (
    "iang iong uang ang eng ing ong ian iao uai uan ai an ao ei en er ia ie in iu ou ua ue ui un "
    "uo ve a e i o u v n ng"
)
INITIALS, FINALS = tuple(_INITIALS.split()), tuple(_FINALS.split())
TONES = tuple("12345")
N_BILINGUAL_PHONES = N_PHONES + len(INITIALS) + len(FINALS) + len(TONES)
LETTER_A = re.compile(r"\bA(?=[,.])|(?<=(?:fter|fore) )A\b")  # the letter, not the article
LETTER_A_PHONES = (PHONES.index("EY"),)


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
        labels += [*word_phones(word), PAUSE]
    return labels[:-1]


def word_phones(word: str) -> tuple[int, ...]:
    """Look up an English word.

    Raises:
        ConfigError: If it is not in the dictionary.
    """
    phones = pronouncing_dictionary().get(word)
    if phones is None:
        raise ConfigError(
            f"no pronunciation of {word!r}: add it to PRONUNCIATIONS in training/lexicon.py"
        )
    return phones


def bilingual_phone_labels(text: str) -> list[int]:
    """Spell a text in phones, Mandarin in syllables cut into beginning, end and tone.

    Raises:
        ConfigError: If a word is not in the dictionary, or a syllable is none.
    """
    labels: list[int] = []
    marked = LETTER_A.sub("letter0a", to_pinyin(text))
    for word in normalise(marked).split():
        if word == "letter0a":
            labels += [*LETTER_A_PHONES, PAUSE]
        elif word[-1] in TONES:
            labels += [*syllable_phones(word), PAUSE]
        else:
            labels += [*word_phones(word), PAUSE]
    return labels[:-1]


def syllable_phones(syllable: str) -> list[int]:
    """Cut a syllable such as "zhuang1" into its parts, as places after the English phones.

    Raises:
        ConfigError: If it is no syllable.
    """
    body, tone = syllable[:-1], syllable[-1]
    initial = next((start for start in INITIALS if body.startswith(start)), "")
    final = body.removeprefix(initial)
    if final not in FINALS:
        raise ConfigError(f"no Mandarin syllable: {syllable!r}")
    ends, tones = N_PHONES + len(INITIALS), N_PHONES + len(INITIALS) + len(FINALS)
    places = [ends + FINALS.index(final), tones + TONES.index(tone)]
    return [N_PHONES + INITIALS.index(initial), *places] if initial else places
