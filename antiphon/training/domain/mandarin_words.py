"""All Mandarin words that are repeated and read aloud; no two of them sound alike."""

from antiphon.training.domain import facts_lexicon, mandarin_lexicon

MANDARIN_WORDS: tuple[str, ...] = tuple(
    dict.fromkeys(
        [chinese for _, chinese in facts_lexicon.TRANSLATIONS] + list(mandarin_lexicon.MORE_WORDS)
    )
)
