"""Messages of a person that wait for an answer, and the question they make together.

Knows no wire format.
"""

from dataclasses import dataclass

import numpy as np

from antiphon.dialogue.session import UserTurn
from antiphon.realtime.answer import Answer, Question
from antiphon.realtime.utterance import Utterance


@dataclass(frozen=True)
class TextQuestion:
    """Typed words."""

    text: str

    def live_turn(self) -> UserTurn:
        """Give the turn."""
        return UserTurn(text=self.text)

    def whole_turn(self) -> UserTurn:
        """Give the turn again."""
        return UserTurn(text=self.text)


@dataclass(frozen=True, eq=False)
class PendingMessage:
    """A message that waits.

    Attributes:
        item_id: Of the message.
        text: Typed words, or
        utterance: speech;
        answer: one that was begun while the person spoke, and waits to be released.
    """

    item_id: str
    text: str | None = None
    utterance: Utterance | None = None
    answer: Answer | None = None


@dataclass(frozen=True, eq=False)
class JoinedQuestion:
    """What the waiting messages ask.

    Attributes:
        question: The last messages of one kind, together.
        item_id: The last message.
        answer: One that was begun already, if it fits.
        n_left_out: Messages of the other kind before them, which one turn cannot hold as well.
    """

    question: Question
    item_id: str
    answer: Answer | None
    n_left_out: int


def join(messages: list[PendingMessage]) -> JoinedQuestion:
    """Make one question of all waiting messages, at least one.

    Answers that were begun for messages that are now only a part of it are dropped.
    """
    last = messages[-1]
    is_text = last.text is not None
    same = [each for each in messages if (each.text is not None) == is_text]
    n_left_out = len(messages) - len(same)
    if len(same) == 1 and last.utterance is not None:
        return JoinedQuestion(last.utterance, last.item_id, last.answer, n_left_out)
    for each in same:
        if each.answer is not None:
            each.answer.drop()
    if is_text:
        text = "\n".join(each.text for each in same if each.text is not None)
        return JoinedQuestion(TextQuestion(text), last.item_id, None, n_left_out)
    utterances = [each.utterance for each in same if each.utterance is not None]
    together = Utterance()
    together.push(np.concatenate([each.waveform for each in utterances]))
    together.source.end()
    return JoinedQuestion(together, last.item_id, None, n_left_out)
