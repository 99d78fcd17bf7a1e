"""How Mandarin syllables sound to a recogniser that knows US English phones only.

A table of our own: what each beginning and each end of a syllable is nearest to. Tones are not
heard. Knows no audio.
"""

import re
from itertools import product

from antiphon.errors import ConfigError
from antiphon.training.domain.pinyin import CHINESE, syllables, to_pinyin
from antiphon.training.grammar import normalise

PREFIX = "zh_"  # of a syllable in grammars and dictionaries: "men" is also an English word
TONE = re.compile(r"(?<=[a-z])[1-5]\b")
SYLLABLE = re.compile(rf"\b{PREFIX}([a-zv]+)")

# Beginnings; several in the order of likeness.
INITIALS: dict[str, tuple[str, ...]] = {
    "b": ("P",), "p": ("P",), "m": ("M",), "f": ("F",),
    "d": ("T", "D"), "t": ("T",), "n": ("N",), "l": ("L",),
    "g": ("G", "K"), "k": ("K",), "h": ("K", "HH"),
    "j": ("K S", "JH", "CH"), "q": ("T S", "CH"), "x": ("S", "SH"),
    "zh": ("CH", "JH"), "ch": ("T SH", "CH"), "sh": ("SH",), "r": ("ZH", "R"),
    "z": ("T S", "D Z"), "c": ("T S", "S"), "s": ("S",),
}  # fmt: skip

# Ends, as pypinyin writes them in full ("iou" of "jiu", "v" of "ju").
FINALS: dict[str, tuple[str, ...]] = {
    "a": ("AA",), "o": ("AO", "W AO"), "e": ("OW", "AH"),
    "ai": ("AY",), "ei": ("EY",), "ao": ("AO", "AA", "AW"), "ou": ("OW",),
    "an": ("AA M", "AA N"), "en": ("AH N", "IH N", "AH M"),
    "ang": ("AA NG", "AO NG", "AA M"), "eng": ("OW UH M", "OW NG", "AH NG"),
    "ong": ("AO NG", "OW NG"),
    "er": ("AH AW", "AA R", "AW"),
    "i": ("IY",), "ia": ("IY AA", "Y AA"), "ie": ("Y EH", "IY EH"),
    "iao": ("Y AA", "IY AW"), "iou": ("Y OW", "IY OW"),
    "ian": ("IY EH N", "Y EH N", "Y AE N", "IY EH M"), "in": ("IY N", "IY M"),
    "iang": ("IY AA NG", "Y AA NG"), "ing": ("IH NG", "IY NG", "IH EY NG"),
    "iong": ("Y OW NG", "Y UW NG"),
    "u": ("UW", "AO"), "ua": ("W AA", "UW AA"), "uo": ("W AO", "UW AO", "AO"),
    "uai": ("W AY",), "uei": ("W IY", "W EY"),
    "uan": ("W AE N", "W AA N", "W AA M"), "uen": ("UH N", "W IH N", "W AH N"),
    "uang": ("W AA NG", "UW AA NG"), "ueng": ("W UH NG", "W AH NG"),
    "v": ("IY", "Y UW"), "ve": ("Y EH", "Y W EH", "IY EH"),
    "van": ("Y AE N", "Y EH N"), "vn": ("Y UW N", "IY N"),
}  # fmt: skip
BUZZED = {"flat": ("UW", "IH", "ER"), "curled": ("IH EY", "IH")}  # the "i" of "zi" and of "zhi"
FLAT, CURLED = ("z", "c", "s"), ("zh", "ch", "sh", "r")
ALONE = {  # ends that begin a syllable: "yi", "wu"
    "i": ("Y IY", "IY"), "in": ("IY N", "Y IY N"), "ing": ("IY NG", "IH NG"), "u": ("W UW",),
}  # fmt: skip


def finals_of(initial: str, final: str) -> tuple[str, ...]:
    """List how an end may sound after a beginning."""
    if not initial:
        return ALONE.get(final, FINALS[final])
    if final == "i" and initial in FLAT:
        return BUZZED["flat"]
    return BUZZED["curled"] if final == "i" and initial in CURLED else FINALS[final]


def pronunciations(syllable: str) -> list[str]:
    """List the ways to say a syllable without its tone, such as "zhuang", in English phones.

    Raises:
        ConfigError: If it is no syllable, or pypinyin is not installed.
    """
    try:
        from pypinyin.contrib.tone_convert import to_finals, to_initials
    except ImportError as error:
        raise ConfigError("pypinyin is not installed: pip install 'antiphon[train]'") from error
    initial, final = to_initials(syllable), to_finals(syllable, v_to_u=False)
    if final not in FINALS or not syllable.isalpha():
        raise ConfigError(f"no Mandarin syllable without tone: {syllable!r}")
    starts = INITIALS[initial] if initial else ("",)
    return [f"{a} {b}".strip() for a, b in product(starts, finals_of(initial, final))]


def spell_grammar(grammar: str) -> str:
    """Put syllables of ours for the Chinese characters of a grammar; the rest stays."""

    def spelled(run: re.Match[str]) -> str:
        return " ".join(PREFIX + TONE.sub("", syllable) for syllable in syllables(run.group()))

    return CHINESE.sub(spelled, grammar)


def spoken_words(text: str) -> str:
    """Write a text as the judge hears it: lower-case words, syllables without their tones."""
    return normalise(TONE.sub("", to_pinyin(text)) if CHINESE.search(text) else text)
