"""Draws what the language model practises, row by row, in the mixture of the moment.

Knows no network; single exchanges are built in lm_data.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from antiphon.dialogue.prompt import N_AUDIO_BLOCK, N_TEXT_BLOCK, render_system
from antiphon.dialogue.session import TurnKind
from antiphon.training.corpus_plan import answer_key
from antiphon.training.data import Record, versions_of
from antiphon.training.domain.conversation import PACES, SAY_AGAIN
from antiphon.training.domain.pinyin import CHINESE
from antiphon.training.domain.table import Domain
from antiphon.training.grammar import Exchange
from antiphon.training.lm_data import RESTATED, Codes, Row, Segment, SegmentBuilder, follow, pack

TYPED_SUMS, TYPED_COUNTS = 0.2, 0.2  # of typed questions; the others are of all skills alike
RECITED_COUNTS, RECITED_FACTS = 0.3, 0.35
ECHOED = 0.5  # of what is recited where conversations are taught: saying an answer again
PACED = 0.35  # of answers alone, where some are slower or faster
SAID_AGAIN = 0.25  # of what is asked aloud: an answer said again as somebody wishes
AS_BEFORE = 0.25  # of these: at the usual pace
FACTS = (
    "calendar",
    "neighbours",
    "opposites",
    "capitals",
    "colours",
    "sounds",
    "translate",
    *2 * ("spell",),  # the most to know by heart
)
RECITED_ROWS = 2  # short ones in the place of a long one
SPOKEN_LISTS = 0.35  # counts are the longest answers, and the hardest to follow in speaking
CONVERSATIONS = 0.3  # share of such rows where conversations are taught; one in ten is too few
OF_THE_DOMAIN = 0.5  # of answers put into sound, by skill; most others are any words to say
# Repeating and spelling have the most words to hear, small talk the most wordings; a pace is heard
# in whole replies only; what a Mandarin opposite asks for may hang on one tone; counts are long.
PRACTISED_AGAIN = {"repeat": 2, "spell": 2} | dict.fromkeys(
    ("count", "greeting", "recite", "pace", "opposites"), 1
)
LONG_SILENT = 0.5  # of the usual share: where an answer goes on is learned beyond its own sound
WRITTEN_DOWN = ("en", "zh")
FIRST_DRAWS = 20


@dataclass(frozen=True)
class Mixture:
    """What is practised: shares of spoken questions, and of rows.

    Attributes:
        transcription: Share of spoken questions that are only written down.
        silent: Share that are answered in text alone; the end of the reply is not learned there.
        recited: Share of batches that are sums, counts, facts and what was just said, in text
            alone: the cheapest practice.
        typed: Share of rows with typed instead of spoken questions.
        dialogue: Share of rows that are one conversation.
        spoken: Share of batches that are answers alone, to put their text into sound.
        listened: Share of batches that are speech alone, to spell; the other shares are of the
            rest.
    """

    transcription: float
    silent: float
    recited: float = 0.1
    typed: float = 0.2
    dialogue: float = 0.1
    spoken: float = 0.1
    listened: float = 0.0


LISTENING = Mixture(transcription=0.2, silent=0.6, recited=0.25, typed=0.1, dialogue=0.05)
SPEAKING = Mixture(transcription=0.3, silent=0.45, recited=0.1, typed=0.1, dialogue=0.1, spoken=0.3)


def mixture_at(fraction: float, listening_until: float, listened: float = 0.0) -> Mixture:
    """First mostly listening, whose exchanges are short, and sums in text; then whole replies.

    Never text alone: a model that began with it heard next to nothing of speech 2,900 steps later.
    """
    return replace(LISTENING if fraction < listening_until else SPEAKING, listened=listened)


class RowSource:
    """Yields packed rows for ever.

    Args:
        builder: Builds the exchanges.
        domain: What is asked in writing and recited.
        records: Questions and readings to train on, all with codes.
        codes: Codes by utterance id; of those heard more often (`versions_of`) any is drawn.
        answers: Codes of the spoken answer by its key (corpus_plan.answer_key).
        row_length: Tokens in a row.
    """

    def __init__(
        self,
        builder: SegmentBuilder,
        domain: Domain,
        records: list[Record],
        codes: dict[str, Codes],
        answers: dict[str, Codes],
        row_length: int,
    ) -> None:
        self.builder, self.domain, self.answers = builder, domain, answers
        self.versions = versions_of(codes)
        self.records = [r for r in records for _ in range(1 + PRACTISED_AGAIN.get(r.skill, 0))]
        self.by_id = {record.id: record for record in records}
        self.row_length = row_length
        self.mixture = LISTENING
        self.rng = builder.rng
        layout, tokenizer = builder.layout, builder.tokenizer
        kinds: tuple[TurnKind, TurnKind] = ("speech", "text")
        self.prefixes = {kind: render_system(kind, layout, tokenizer) for kind in kinds}
        self.facts = [skill for skill in FACTS if skill in domain.skills]
        self.order: list[Record] = []
        self.fillers = list(answers.values())
        self.texts = [key for key in answers if "\n" not in key]  # those at the usual pace
        self.paced = [key for key in answers if "\n" in key]
        self.lists = [text for text in self.texts if ":" in text or "：" in text] or self.texts
        asked = asked_answers(records, answers)
        self.by_skill = [texts for (_, pace), texts in asked.items() if pace == 1.0]
        self.wishes = spoken_wishes(records) if domain.max_turns > 1 else {}
        self.again = [key for key in self.texts if wish_for(key) in self.wishes]
        self.again_paced = [key for key in self.paced if wish_for(key) in self.wishes]
        paced_asked = {key for (_, pace), keys in asked.items() if pace != 1.0 for key in keys}
        self.paced_asked = [key for key in self.again_paced if key in paced_asked]

    def next_record(self) -> Record:
        """The next question; in each round all come once, those of hard skills more often."""
        if not self.order:
            self.order = self.rng.sample(self.records, len(self.records))
        return self.order.pop()

    def codes(self, record: Record) -> Codes:
        """What is heard of a question or a reading this time."""
        return self.rng.choice(self.versions[record.id])

    def before(self, record: Record) -> list[Segment] | None:
        """The earlier turns of a question's conversation; None if one has no codes."""
        turns: list[Segment] = []
        while record.context:
            earlier = self.by_id.get(record.context)
            spoken = self.answers.get(answer_key(earlier.answer, earlier.pace)) if earlier else None
            if earlier is None or spoken is None:
                return None
            turns.insert(
                0, self.builder.spoken_question(self.codes(earlier), earlier.answer, spoken)
            )
            record = earlier
        return turns

    def speech_segment(self) -> Segment:
        """A spoken question, answered or transcribed; the turns before it, if any, come first."""
        if self.again_paced and self.rng.random() < SAID_AGAIN:
            return self.said_again()
        while True:
            record = self.next_record()
            if record.text and record.language in WRITTEN_DOWN and self.is_written_down(record):
                codes = self.codes(record)
                return self.noted(self.builder.transcription(codes, record.text), codes, record)
            before = self.before(record)
            if before is not None and record.role != "reading":
                return follow(before, self.answered(record))

    def listened(self) -> Segment:
        """A question or a reading whose words are known, to spell."""
        while True:
            record = self.next_record()
            if record.text and record.language in WRITTEN_DOWN:
                return self.builder.listened(self.codes(record), record.text)

    def is_written_down(self, record: Record) -> bool:
        """Decide whether a question is transcribed; a reading always is."""
        return record.role == "reading" or self.rng.random() < self.mixture.transcription

    def answered(self, record: Record) -> Segment:
        """A spoken question with its answer, in text alone or in text and sound.

        A wish for another pace is always answered in sound, where there is some, and an answer of
        more than one block more often than others.
        """
        codes = self.codes(record)
        answer_codes = self.answers.get(answer_key(record.answer, record.pace))
        silent = self.mixture.silent / max(1e-6, 1 - self.mixture.transcription)
        if len(self.builder.written(record.answer)) > N_TEXT_BLOCK:
            silent *= LONG_SILENT
        is_paced = record.pace != 1.0
        if answer_codes is None or (not is_paced and self.rng.random() < silent):
            filler = self.rng.choice(self.fillers)
            segment = self.builder.silent_question(codes, record.answer, filler)
        else:
            segment = self.builder.spoken_question(codes, record.answer, answer_codes)
        return self.noted(segment, codes, record)

    def noted(self, segment: Segment, codes: Codes, record: Record) -> Segment:
        """An exchange with the words of its question, where its language has letters here."""
        if not record.text or record.language not in WRITTEN_DOWN:
            return segment
        return self.builder.noting(segment, codes, record.text)

    def said_again(self) -> Segment:
        """An answer that was said, a spoken wish, and the same answer as it wishes.

        Questions that go before such wishes are few; any answer that was spoken at a pace may be
        said again at it, and any voice may wish for it.
        """
        is_usual = bool(self.again) and self.rng.random() < AS_BEFORE
        key = self.rng.choice(self.again) if is_usual else self.paced_key(self.again_paced)
        text = key.partition("\n")[0]
        said = self.answers.get(text)
        if said is None:  # any sound does for what came before
            said = self.rng.choice(self.fillers)[: self.rng.randrange(N_AUDIO_BLOCK)]
        wish = self.rng.choice(self.wishes[wish_for(key)])
        codes = self.codes(wish)
        again = self.builder.spoken_question(codes, text, self.answers[key])
        return follow([self.builder.said(text, said)], self.noted(again, codes, wish))

    def typed_segment(self) -> Segment:
        """A typed question: sums and counts answered in text alone, or any of the domain."""
        kind = self.rng.random()
        if kind < TYPED_SUMS:
            return self.hummed(self.domain.draw(self.rng, "arithmetic"))
        if kind < TYPED_SUMS + TYPED_COUNTS:
            return self.hummed(self.domain.long_count(self.rng))
        while True:
            exchange = self.domain.draw(self.rng, self.rng.choice(self.domain.skills))
            turns = (*exchange.before, exchange)
            found = [self.answers.get(answer_key(turn.answer, turn.pace)) for turn in turns]
            spoken = [codes for codes in found if codes is not None]
            if not exchange.sound and len(spoken) == len(turns):
                return self.typed_turns(turns, spoken)
            if not exchange.sound and not exchange.before:
                return self.hummed(exchange)

    def hummed(self, exchange: Exchange) -> Segment:
        """A typed question, answered in text alone."""
        filler = self.rng.choice(self.fillers)
        return self.builder.hummed_question(exchange.question, exchange.answer, filler)

    def typed_turns(self, turns: Sequence[Exchange], spoken: Sequence[Codes]) -> Segment:
        """A typed conversation; `spoken` are the codes of its answers."""
        segments = [
            self.builder.typed_question(turn.question, turn.answer, codes)
            for turn, codes in zip(turns, spoken, strict=True)
        ]
        return follow(segments[:-1], segments[-1])

    def row(self) -> Row:
        """Pack exchanges of one kind behind their system prompt."""
        kind: TurnKind = "text" if self.rng.random() < self.mixture.typed else "speech"
        draw = self.typed_segment if kind == "text" else self.speech_segment
        share = CONVERSATIONS if self.domain.max_turns > 1 else self.mixture.dialogue
        is_dialogue = self.rng.random() < share
        segments = fill(draw, self.row_length - len(self.prefixes[kind]))
        return pack(self.prefixes[kind], segments, self.row_length, is_dialogue)

    def recited(self) -> Segment:
        """A sum, a count or a fact to say to the end, or anything to say again."""
        if self.domain.max_turns > 1 and self.rng.random() < ECHOED:
            return self.echoed()
        kind = self.rng.random()
        if kind < RECITED_COUNTS:
            exchange = self.domain.long_count(self.rng)
        elif kind < RECITED_COUNTS + RECITED_FACTS:
            exchange = self.fact()
        else:
            exchange = self.domain.draw(self.rng, "arithmetic")
        return self.builder.recited(exchange.answer, self.rng.choice(self.fillers))

    def echoed(self) -> Segment:
        """An answer, or words in any order, to say again."""
        draw = self.domain.draw if self.rng.random() < 0.5 else self.domain.recital
        said = draw(self.rng)
        wishes = (*SAY_AGAIN[said.language], *itertools.chain(*PACES[said.language].values()))
        filler, n_after = self.rng.choice(self.fillers), self.rng.randrange(N_AUDIO_BLOCK)
        return self.builder.echoed(said.answer, self.rng.choice(wishes), filler, n_after)

    def fact(self) -> Exchange:
        """Something to know by heart whose answer restates the question."""
        while True:
            exchange = self.domain.draw(self.rng, self.rng.choice(self.facts))
            if RESTATED.match(exchange.answer):
                return exchange

    def recited_row(self, length: int) -> Row:
        """Pack sums, counts and facts into a short row, any sound between their blocks."""
        return pack([], fill(self.recited, length), length, is_dialogue=False)

    def spoken(self) -> Segment:
        """An answer to put into sound."""
        if self.paced and self.rng.random() < PACED:
            return self.paced_answer()
        text = self.usual_text()
        return self.builder.spoken(text, self.answers[text])

    def usual_text(self) -> str:
        """Draw an answer at the usual pace: of any skill alike, of any list, or of any words."""
        if self.by_skill and self.rng.random() < OF_THE_DOMAIN:
            return self.rng.choice(self.rng.choice(self.by_skill))
        return self.rng.choice(self.lists if self.rng.random() < SPOKEN_LISTS else self.texts)

    def paced_key(self, keys: Sequence[str]) -> str:
        """Draw one of the slower or faster answers: as often one that is asked for as any words."""
        is_asked = self.paced_asked and self.rng.random() < OF_THE_DOMAIN
        return self.rng.choice(self.paced_asked if is_asked else keys)

    def paced_answer(self) -> Segment:
        """An answer to put into sound as slowly or quickly as somebody wishes."""
        key = self.paced_key(self.paced)
        text = key.partition("\n")[0]
        language, pace = wish_for(key)
        wish = self.rng.choice(PACES[language][pace])
        return self.builder.spoken(text, self.answers[key], wish)

    def spoken_row(self) -> Row:
        """Pack answers alone, without a system prompt: most of such a row is sound."""
        return pack([], fill(self.spoken, self.row_length), self.row_length, is_dialogue=False)

    def listened_row(self) -> Row:
        """Pack speech to spell behind the system prompt that comes before speech."""
        prefix = self.prefixes["speech"]
        segments = fill(self.listened, self.row_length - len(prefix))
        return pack(prefix, segments, self.row_length, is_dialogue=False)

    def batches(self, n_rows: int) -> Iterator[list[Row]]:
        """Yield lists of rows for ever: `n_rows` long ones, or as many tokens in short ones."""
        while True:
            if self.rng.random() < self.mixture.listened:
                yield [self.listened_row() for _ in range(n_rows)]
                continue
            kind = self.rng.random()
            if kind < self.mixture.recited:
                short = self.row_length // RECITED_ROWS
                yield [self.recited_row(short) for _ in range(RECITED_ROWS * n_rows)]
            elif kind < self.mixture.recited + self.mixture.spoken:
                yield [self.spoken_row() for _ in range(n_rows)]
            else:
                yield [self.row() for _ in range(n_rows)]


def language_of(text: str) -> str:
    """Tell the language of an answer."""
    return "zh" if CHINESE.search(text) else "en"


def wish_for(key: str) -> tuple[str, float]:
    """Tell by an answer's key in which language it is, and at which pace."""
    text, _, pace = key.partition("\n")
    return language_of(text), float(pace or 1)


def asked_answers(
    records: Sequence[Record], answers: Mapping[str, Codes]
) -> dict[tuple[str, float], list[str]]:
    """Gather the keys of spoken answers to questions, each once, by skill and pace.

    Readings and other texts to say are no answers to anything.
    """
    found: dict[tuple[str, float], dict[str, None]] = {}
    for record in records:
        key = answer_key(record.answer, record.pace)
        if record.role == "question" and key in answers:
            skill = f"{record.skill} {language_of(record.answer)}"
            found.setdefault((skill, record.pace), {})[key] = None
    return {kind: list(keys) for kind, keys in found.items()}


def spoken_wishes(records: Sequence[Record]) -> dict[tuple[str, float], list[Record]]:
    """Gather the spoken wishes to hear an answer again, by language and the pace they want."""
    found: dict[tuple[str, float], list[Record]] = {}
    for record in records:
        is_again = record.text in SAY_AGAIN.get(record.language, ())
        if is_again or (record.skill == "pace" and record.pace != 1.0):
            found.setdefault((record.language, record.pace), []).append(record)
    return found


def fill(draw: Callable[[], Segment], length: int) -> list[Segment]:
    """Draw exchanges as long as they fit into `length` tokens; the first may take some draws."""
    segments: list[Segment] = []
    for _ in range(FIRST_DRAWS):
        segment = draw()
        while len(segment.ids) <= length:
            segments.append(segment)
            length -= len(segment.ids)
            segment = draw()
        if segments:
            break
    return segments
