"""An independent recogniser (pocketsphinx) that tells whether a spoken answer can be understood.

It listens with a grammar of the domain's answers and its own US English acoustic model, to Mandarin
too; it has never heard our decoder.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from antiphon.audio import float_to_pcm16, resample
from antiphon.evaluation.mandarin_phones import (
    PREFIX,
    SYLLABLE,
    pronunciations,
    spell_grammar,
)
from antiphon.training import lexicon
from antiphon.training.domain.pinyin import CHINESE
from antiphon.training.grammar import (
    MAX_COUNT_START,
    MAX_COUNT_STEPS,
    normalise,
    number_words,
)
from antiphon.training.pronunciation import own_pronunciations, sphinx_model_folder

SAMPLE_RATE = 16_000
PADDING_S = 0.2
MANDARIN_NOISE = 2e-3  # the synthesiser is too clean for the recogniser
BEAM, WORD_BEAM = 1e-48, 1e-29
MAX_COUNTED = MAX_COUNT_START + MAX_COUNT_STEPS


def alternatives(phrases: Sequence[str]) -> str:
    """Join phrases to a JSGF choice."""
    return " | ".join(sorted({normalise(phrase) for phrase in phrases}))


ANSWERS = {
    "greeting": "<greeting>",
    "arithmetic": "<number> (plus | minus) <number> is <number>",
    "calendar": "(after | before) <name> comes <name>",
    "opposites": "the opposite of <opposite> is <opposite>",
    "capitals": "the capital of <country> is <city>",
    "repeat": "<word>+",
    "count": "from <number> to <number> <counting>",
}


def counting_rules() -> dict[str, str]:
    """Rules for counting up from each number: the number, and perhaps the count from the next."""
    rules = {
        f"from{number}": f"{number_words(number)} [<from{number + 1}>]"
        for number in range(MAX_COUNTED)
    }
    starts = " | ".join(f"<from{number}>" for number in range(MAX_COUNTED + 1))
    return {**rules, f"from{MAX_COUNTED}": number_words(MAX_COUNTED), "counting": starts}


def answer_grammar(skill: str) -> str:
    """Write the grammar of the answers of one skill (JSGF)."""
    rules = {
        "unit": alternatives(lexicon.UNITS),
        "digit": alternatives(lexicon.UNITS[1:10]),
        "tens": alternatives(lexicon.TENS),
        "number": "<unit> | <tens> [<digit>]",
        "name": alternatives(lexicon.DAYS + lexicon.MONTHS),
        "opposite": alternatives([word for pair in lexicon.OPPOSITES for word in pair]),
        "country": alternatives([country for country, _ in lexicon.CAPITALS]),
        "city": alternatives([city for _, city in lexicon.CAPITALS]),
        "greeting": alternatives([answer for _, answer in lexicon.GREETINGS]),
        "word": alternatives(lexicon.REPEAT_WORDS),
        **(counting_rules() if skill == "count" else {}),
    }
    lines = [f"<{name}> = {body};" for name, body in rules.items()]
    start = f"public <answer> = {ANSWERS[skill]};"
    return "\n".join(["#JSGF V1.0;", f"grammar {skill};", *lines, start])


def small_grammars() -> dict[str, str]:
    """Write the grammars of the small domain by skill."""
    return {skill: answer_grammar(skill) for skill in ANSWERS}


class Judge:
    """Transcribes spoken answers of a domain.

    Args:
        grammars: A grammar (JSGF) for each kind of answer; None for the small domain's.
    """

    def __init__(self, grammars: Mapping[str, str] | None = None) -> None:
        model = sphinx_model_folder()
        import pocketsphinx

        settings = pocketsphinx.Config(
            hmm=str(model / "en-us"),
            dict=str(model / "cmudict-en-us.dict"),
            lm=None,
            loglevel="ERROR",
            beam=BEAM,
            wbeam=WORD_BEAM,
        )
        self.decoder = pocketsphinx.Decoder(settings)
        for word, *phones in own_pronunciations():
            if self.decoder.lookup_word(word) is None:
                self.decoder.add_word(word, " ".join(phones), False)
        self.grammars: dict[str, str] = {}
        for skill, text in (small_grammars() if grammars is None else grammars).items():
            self.expect(skill, text)

    def expect(self, skill: str, grammar: str) -> None:
        """Listen for a grammar (JSGF, Mandarin in characters) in answers of `skill` from now on."""
        self.grammars[skill] = grammar
        spelled = spell_grammar(grammar)
        for syllable in sorted(set(SYLLABLE.findall(spelled))):
            self.learn(syllable)
        self.decoder.add_jsgf_string(skill, spelled)

    def learn(self, syllable: str) -> None:
        """Add a Mandarin syllable to the recogniser's words, with all its pronunciations."""
        word = PREFIX + syllable
        if self.decoder.lookup_word(word) is not None:
            return
        for number, phones in enumerate(pronunciations(syllable), start=1):
            self.decoder.add_word(word if number == 1 else f"{word}({number})", phones, False)

    def transcribe(self, waveform: npt.NDArray[np.float32], sample_rate: int, skill: str) -> str:
        """Write down an answer of `skill`, (n_samples,) audio; empty when nothing fits.

        The recogniser expects any answer of that skill and knows no more of the question. Mandarin
        comes in syllables without tones.
        """
        self.decoder.activate_search(skill)
        silence = np.zeros(int(PADDING_S * SAMPLE_RATE), np.float32)
        speech = resample(np.asarray(waveform, np.float32), sample_rate, SAMPLE_RATE)
        padded = np.concatenate([silence, speech, silence])
        if CHINESE.search(self.grammars[skill]):
            noise = np.random.default_rng(0).standard_normal(len(padded), np.float32)
            padded += MANDARIN_NOISE * noise
        pcm = float_to_pcm16(padded)
        self.decoder.start_utt()
        self.decoder.process_raw(pcm.tobytes(), False, True)
        self.decoder.end_utt()
        best = self.decoder.hyp()
        return normalise(re.sub(rf"\(\d+\)|\b{PREFIX}", "", best.hypstr)) if best else ""
