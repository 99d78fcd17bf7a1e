"""Mandarin characters to syllables with tone numbers, as espeak-ng and the recogniser spell them.

Source: pinyin with tones 1 to 5 (5 is the neutral tone), "v" for the vowel of "nü".
"""

import re

from antiphon.errors import ConfigError

CHINESE = re.compile(r"[\u4e00-\u9fff]+")
PUNCTUATION = str.maketrans("，。：？！；", ",.:?!;")


def syllables(characters: str) -> list[str]:
    """Spell a run of characters, one syllable each, tones changed as they are in a sentence.

    Raises:
        ConfigError: If pypinyin is not installed.
    """
    try:
        from pypinyin import Style, lazy_pinyin
    except ImportError as error:
        raise ConfigError("pypinyin is not installed: pip install 'antiphon[train]'") from error
    return lazy_pinyin(characters, style=Style.TONE3, neutral_tone_with_five=True, tone_sandhi=True)


def to_pinyin(text: str) -> str:
    """Spell the characters of a text, "苹果是 apple。" -> "ping2 guo3 shi4 apple."."""
    spelled = CHINESE.sub(lambda run: f" {' '.join(syllables(run.group()))} ", text)
    joined = re.sub(r"\s+", " ", spelled.translate(PUNCTUATION)).strip()
    return re.sub(r" (?=[,.:?!;])", "", joined)


def language_runs(text: str) -> list[str]:
    """Cut a text where its script changes; signs stay with what stands before them."""
    pieces = re.findall(r"[\u4e00-\u9fff][^A-Za-z]*|[^\u4e00-\u9fff]+", text)
    return [piece.strip() for piece in pieces if re.search(r"\w", piece)]
