"""Turns questions, answers and speech tokens into training sequences. Knows no network.

Many exchanges share one row and one system prompt: each sees the prompt and itself only, at the
positions it would have alone, so a row teaches the same as its exchanges one by one, for less.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from antiphon.dialogue.prompt import N_AUDIO_BLOCK, N_TEXT_BLOCK, REPLY_MODE
from antiphon.models.base import TokenLayout
from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer
from antiphon.training import grammar
from antiphon.training.domain.pinyin import CHINESE
from antiphon.training.domain.words import as_written
from antiphon.training.recogniser import ENGLISH, text_to_labels

TRANSCRIPTION_MODE = "transcription\n"
NO_TARGET = -100
ANY_SOUND = -200  # a target where the text of a block ends: sound comes next, whichever it is
LONGEST_HUMMED = 4  # blocks of text that are practised without their own sound
RESTATED = re.compile(r".*? (is|comes|says)\b|.*?:|.*?等于|.*?：|.*?是")
"""What an answer begins with that restates its question."""
Codes = npt.NDArray[np.int16]


@dataclass(frozen=True)
class HeardSpeech:
    """Where speech with known words is: `n` tokens from `start`, and its letters (label ids)."""

    start: int
    n: int
    labels: tuple[int, ...]

    def moved(self, by: int) -> "HeardSpeech":
        """The same, `by` positions later."""
        return replace(self, start=self.start + by)


@dataclass(frozen=True)
class Segment:
    """One exchange: ids, for each position what to predict next, and what was said.

    That is an id, NO_TARGET or ANY_SOUND.
    """

    ids: list[int]
    targets: list[int]
    heard: tuple[HeardSpeech, ...] = ()


@dataclass(frozen=True)
class Row:
    """A packed row.

    Attributes:
        ids: (L,) token ids.
        targets: (L,) ids to predict, NO_TARGET or ANY_SOUND.
        positions: (L,) position ids.
        groups: (L,) 0 for the shared prompt, else the exchange's number.
        heard: What was said; of stacked rows `start` counts the positions of all, end to end.
    """

    ids: Tensor
    targets: Tensor
    positions: Tensor
    groups: Tensor
    heard: tuple[HeardSpeech, ...] = ()


def interleave(text_ids: Sequence[int], audio_ids: Sequence[int]) -> list[int]:
    """Weave 13 text tokens, 26 audio tokens, ...; the rest of the longer one follows."""
    text, audio, out = list(text_ids), list(audio_ids), []
    while text or audio:
        out += text[:N_TEXT_BLOCK] + audio[:N_AUDIO_BLOCK]
        del text[:N_TEXT_BLOCK], audio[:N_AUDIO_BLOCK]
    return out


def typed_forms(question: str, rng: random.Random) -> str:
    """Write a question as people type it: capital, question mark, digits."""
    if CHINESE.search(question):
        return question + (rng.choice(("？", "。")) if rng.random() < 0.6 else "")
    if rng.random() < 0.4:
        question = words_to_digits(question)
    if rng.random() < 0.6:
        question = question[0].upper() + question[1:]
    ending = "?" if re.match(r"(?i)what|how|who|which", question) else rng.choice((".", "", "!"))
    return question + (ending if rng.random() < 0.6 else "")


@cache
def number_pattern() -> re.Pattern[str]:
    """Match number words, the longest first."""
    numbers = map(grammar.number_words, range(grammar.MAX_NUMBER, -1, -1))
    return re.compile(rf"\b({'|'.join(sorted(numbers, key=len, reverse=True))})\b")


@cache
def number_values() -> dict[str, str]:
    """Give the digits of each number word."""
    return {grammar.number_words(number): str(number) for number in range(grammar.MAX_NUMBER + 1)}


def words_to_digits(text: str) -> str:
    """Replace number words 0..99 by digits: "forty seven" -> "47"."""
    values = number_values()
    text = number_pattern().sub(lambda found: values[found.group()], text)
    return (
        text.replace(" plus ", " + ").replace(" minus ", " - ")
        if any(c.isdigit() for c in text)
        else text
    )


class SegmentBuilder:
    """Builds exchanges from texts and codes.

    Args:
        tokenizer: The text vocabulary.
        neighbours: (K, n) nearest other codes of each code, for noise on what is heard.
        noise: Share of heard codes that are replaced by a neighbour.
        rng: Source of randomness.
        alphabet: Letters in which the words of heard speech are noted.
    """

    def __init__(
        self,
        tokenizer: GlmTextTokenizer,
        neighbours: Tensor,
        noise: float,
        rng: random.Random,
        alphabet: str = ENGLISH,
    ) -> None:
        self.tokenizer, self.layout, self.alphabet = tokenizer, tokenizer.layout, alphabet
        self.neighbours, self.noise, self.rng = neighbours.tolist(), noise, rng
        self.newline = tokenizer.encode("\n")
        self.modes = {mode: tokenizer.encode(mode) for mode in (REPLY_MODE, TRANSCRIPTION_MODE)}

    def heard(self, codes: Codes) -> list[int]:
        """A user's speech between its marks, with noise."""
        layout: TokenLayout = self.layout
        out = []
        for code in codes.tolist():
            if self.rng.random() < self.noise:
                code = self.rng.choice(self.neighbours[code])
            out.append(layout.audio_0 + code)
        return [*self.newline, layout.begin_of_audio, *out, layout.end_of_audio]

    def noting(self, segment: Segment, codes: Codes, words: str) -> Segment:
        """Note what the speech in an exchange says; it came right at the beginning."""
        start = 1 + len(self.newline) + 1  # the user's mark, and the speech's own
        labels = tuple(text_to_labels(words, self.alphabet))
        return replace(segment, heard=(HeardSpeech(start, len(codes), labels),))

    def listened(self, codes: Codes, words: str) -> Segment:
        """Speech alone, to be spelled (lm_listening.py); no token is learned."""
        ids = [self.layout.user, *self.heard(codes), self.layout.assistant]
        return self.noting(Segment(ids, [NO_TARGET] * len(ids)), codes, words)

    def written(self, answer: str) -> list[int]:
        """The text of an answer as it is learned."""
        return self.tokenizer.encode(as_written(answer))

    def typed(self, text: str) -> list[int]:
        """A user's text."""
        return self.tokenizer.encode("\n" + text)

    def reply(self, text: str, codes: Codes) -> list[int]:
        """The interleaved reply."""
        return interleave(self.written(text), [self.layout.audio_0 + c for c in codes.tolist()])

    def without_sound(self, segment: Segment) -> Segment:
        """Learn the text of an exchange alone, and that sound follows each block of it."""
        targets = [*segment.targets[:-1], self.layout.audio_0]  # in place of the reply's end
        return replace(segment, targets=self.any_sound(targets))

    def any_sound(self, targets: Sequence[int]) -> list[int]:
        """Let it be learned that a stretch of sound begins, and nothing of the sound."""
        is_sound = [target >= self.layout.audio_0 for target in targets]
        begins = [now and not before for before, now in pairwise([False, *is_sound])]
        kinds = zip(targets, is_sound, begins, strict=True)
        return [(ANY_SOUND if first else NO_TARGET) if sound else t for t, sound, first in kinds]

    def segment(self, user: list[int], mode: str, reply: list[int]) -> Segment:
        """Join the halves of an exchange; the reply and its end are what is learned."""
        opening = [self.layout.user, *user, self.layout.assistant, *self.modes[mode]]
        ids = opening + reply
        targets = [NO_TARGET] * (len(opening) - 1) + reply + [self.layout.user]
        return Segment(ids, targets)

    def spoken_question(self, codes: Codes, answer: str, answer_codes: Codes) -> Segment:
        """A spoken question with its spoken answer."""
        return self.segment(self.heard(codes), REPLY_MODE, self.reply(answer, answer_codes))

    def silent_question(self, codes: Codes, answer: str, filler: Codes) -> Segment:
        """A spoken question of whose answer only the text is learned."""
        return self.without_sound(
            self.segment(self.heard(codes), REPLY_MODE, self.hummed(answer, filler))
        )

    def hummed(self, answer: str, filler: Codes) -> list[int]:
        """A reply whose text runs on over strange sound.

        Long answers need practice in going on with the text after a block of sound; any sound
        does for that, and none is needed after the last words.
        """
        text = self.written(answer)[: LONGEST_HUMMED * N_TEXT_BLOCK]
        audio = np.resize(filler, N_AUDIO_BLOCK * ((len(text) - 1) // N_TEXT_BLOCK))
        return interleave(text, [self.layout.audio_0 + int(code) for code in audio])

    def transcription(self, codes: Codes, text: str) -> Segment:
        """Speech to be written down; English words all begin with a space, the first one too."""
        spaced = text if CHINESE.match(text) else f" {text}"
        return self.segment(self.heard(codes), TRANSCRIPTION_MODE, self.tokenizer.encode(spaced))

    def typed_question(self, question: str, answer: str, answer_codes: Codes) -> Segment:
        """A typed question with its spoken answer."""
        user = self.typed(typed_forms(question, self.rng))
        return self.segment(user, REPLY_MODE, self.reply(answer, answer_codes))

    def hummed_question(self, question: str, answer: str, filler: Codes) -> Segment:
        """A typed question of whose answer only the text is learned."""
        user = self.typed(typed_forms(question, self.rng))
        return self.without_sound(self.segment(user, REPLY_MODE, self.hummed(answer, filler)))

    def spoken(self, answer: str, codes: Codes, wish: str = "") -> Segment:
        """An answer alone, given as text; only its sound and its end are learned.

        Args:
            answer: Its text.
            codes: Its sound.
            wish: Typed words before it that say how fast to speak.
        """
        reply = self.reply(answer, codes)
        asked = [self.layout.user, *self.typed(wish)] if wish else []
        opening = [*asked, self.layout.assistant, *self.modes[REPLY_MODE]]
        sound = [t if t >= self.layout.audio_0 else NO_TARGET for t in reply]
        targets = [NO_TARGET] * (len(opening) - 1) + sound + [self.layout.user]
        return Segment(opening + reply, targets)

    def said(self, answer: str, codes: Codes) -> Segment:
        """An answer that was spoken before, of which nothing is learned."""
        reply = self.reply(answer, codes)
        return Segment([self.layout.assistant, *self.modes[REPLY_MODE], *reply], [])

    def echoed(self, answer: str, wish: str, filler: Codes, n_after: int) -> Segment:
        """An answer and a typed wish to hear it again; only its text, once more, is learned.

        Any sound does between the two and between their blocks: the text is to be found beyond it.

        Args:
            answer: What was said and is to be said again.
            wish: What the user types in between.
            filler: Strange sound.
            n_after: Tokens of it that end the first saying.
        """
        said = self.hummed(answer, filler)
        ending = [self.layout.audio_0 + int(code) for code in filler[:n_after]]
        before = [self.layout.assistant, *self.modes[REPLY_MODE], *said, *ending]
        again = self.without_sound(self.segment(self.typed(wish), REPLY_MODE, said))
        return follow([Segment(before, [])], again)

    def recited(self, answer: str, filler: Codes) -> Segment:
        """An answer alone that restates its question; only what follows from that is learned.

        Args:
            answer: Its text.
            filler: Strange sound to put between its blocks.

        Raises:
            ValueError: If it does not.
        """
        begin = RESTATED.match(as_written(answer))
        if begin is None:
            raise ValueError(f"neither a sum nor a count nor a fact: {answer!r}")
        n_given = len(self.tokenizer.encode(begin.group()))
        reply = self.hummed(answer, filler)
        targets = self.any_sound([*reply, self.layout.audio_0])
        places = [place for place, target in enumerate(targets) if target >= 0]
        for place in places[:n_given]:
            targets[place] = NO_TARGET
        return Segment([self.layout.assistant, *reply], targets)


def follow(before: Sequence[Segment], segment: Segment) -> Segment:
    """Put earlier turns of a conversation before an exchange; of those nothing is learned or noted.

    Their ends say that the user speaks next, and so does the beginning of what follows.
    """
    ids = [token for turn in before for token in turn.ids]
    heard = tuple(each.moved(len(ids)) for each in segment.heard)
    return Segment(ids + segment.ids, [NO_TARGET] * len(ids) + segment.targets, heard)


def pack(prefix: list[int], segments: list[Segment], length: int, is_dialogue: bool) -> Row:
    """Lay exchanges side by side (each alone with the prompt) or, as a dialogue, in a chain."""
    ids, targets = list(prefix), [NO_TARGET] * len(prefix)
    positions, groups = list(range(len(prefix))), [0] * len(prefix)
    heard: list[HeardSpeech] = []
    for number, segment in enumerate(segments, start=1):
        start = len(ids) if is_dialogue else len(prefix)
        heard += [each.moved(len(ids)) for each in segment.heard]
        ids += segment.ids
        targets += segment.targets
        positions += range(start, start + len(segment.ids))
        groups += [0 if is_dialogue else number] * len(segment.ids)
    n_padding = length - len(ids)
    return Row(
        torch.tensor(ids + [0] * n_padding),
        torch.tensor(targets + [NO_TARGET] * n_padding),
        torch.tensor(positions + [0] * n_padding),
        torch.tensor(groups + [len(segments) + 1] * n_padding),
        tuple(heard),
    )


def stack_rows(rows: Sequence[Row]) -> Row:
    """Put rows of one length together, (B, L) each."""
    return Row(
        torch.stack([row.ids for row in rows]),
        torch.stack([row.targets for row in rows]),
        torch.stack([row.positions for row in rows]),
        torch.stack([row.groups for row in rows]),
        tuple(
            each.moved(number * len(row.ids))
            for number, row in enumerate(rows)
            for each in row.heard
        ),
    )


def attention_mask(groups: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Who sees whom in groups (B, L): (B, 1, L, L) of `dtype`, 0 where the query sees the key.

    Elsewhere the lowest number, added to the scores: a mask of booleans would be added as 0 and 1
    by attention that is computed plainly, and hide nothing. Of another type than the scores it
    would make all that follows wider and slower.
    """
    length = groups.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=groups.device).tril()
    same = groups[:, :, None] == groups[:, None, :]
    seen = (earlier & (same | (groups[:, None, :] == 0)))[:, None]
    return torch.zeros(seen.shape, dtype=dtype, device=groups.device).masked_fill(
        ~seen, torch.finfo(dtype).min
    )
