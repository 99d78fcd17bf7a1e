"""One reply as the page sees it grow: its draft, its sound, its tokens. Knows no component."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Self

import numpy as np

from antiphon.api.realtime_messages import Json
from antiphon.audio import Waveform
from antiphon.demo.conversation import Conversation, Ending, Exchange
from antiphon.demo.labels import Phrases
from antiphon.dialogue.events import (
    AudioChunk,
    Event,
    TextDelta,
    TurnDone,
    TurnFailed,
    TurnTimings,
    UserTokens,
)
from antiphon.dialogue.turn_pipeline import TurnOptions
from antiphon.realtime.conversation_store import ConversationItem


@dataclass
class TokenView:
    """The tokens and timings of one turn, for those who want to look inside.

    Attributes:
        user: Speech tokens of the question; empty when it was typed.
        text: Ids of the reply's text tokens.
        audio: Speech tokens of the reply.
        timings: Milliseconds by name, set when the turn is over.
        rtf: Computing time over the length of the speech.
    """

    user: list[int] = field(default_factory=list)
    text: list[int] = field(default_factory=list)
    audio: list[int] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    rtf: float | None = None

    @classmethod
    def of(cls, item: ConversationItem | None) -> Self:
        """Read what an item remembers, whoever wrote it."""
        details = item.details if item is not None else {}
        tokens, timings, rtf = details.get("tokens"), details.get("timings"), details.get("rtf")
        tokens = tokens if isinstance(tokens, Mapping) else {}
        timings = timings if isinstance(timings, Mapping) else {}
        return cls(
            user=integers(tokens.get("user")),
            text=integers(tokens.get("text")),
            audio=integers(tokens.get("audio")),
            timings={name: ms for name, ms in timings.items() if isinstance(ms, int | float)},
            rtf=float(rtf) if isinstance(rtf, int | float) else None,
        )

    def details(self) -> dict[str, Json]:
        """Write it as an item remembers it."""
        kept: dict[str, Json] = {
            "timings": dict(self.timings),
            "tokens": {"user": [*self.user], "text": [*self.text], "audio": [*self.audio]},
        }
        if self.rtf is not None:
            kept["rtf"] = self.rtf
        return kept


class LiveReply:
    """Collects the events of one turn into the draft of a conversation, then into an item."""

    def __init__(
        self, conversation: Conversation, exchange: Exchange, options: TurnOptions
    ) -> None:
        self.tokens = TokenView()
        self.done: TurnDone | None = None
        self.failure: str | None = None
        self._conversation = conversation
        self._exchange = exchange
        self._options = options
        self._text = ""
        self._sound: list[Waveform] = []
        self._sample_rate = 0
        exchange.draft = ""

    @property
    def sample_rate(self) -> int:
        """Rate of the sound in Hz; 0 before there is any."""
        return self._sample_rate

    @property
    def has_sound(self) -> bool:
        """Whether anything was spoken."""
        return bool(self._sound)

    def take(self, event: Event) -> Waveform | None:
        """Take one event; returns the new sound, if it brought any."""
        if isinstance(event, UserTokens):
            self.tokens.user = list(event.speech_tokens)
        elif isinstance(event, TextDelta):
            self.tokens.text += event.token_ids
            self._text += event.text
            self._exchange.draft = self._text
        elif isinstance(event, AudioChunk):
            self.tokens.audio += event.speech_tokens
            return self._take_sound(event)
        elif isinstance(event, TurnDone):
            self.done = event
            self.tokens.timings, self.tokens.rtf = in_ms(event.timings), event.rtf
            self._text = event.text or self._text
        else:
            self._fail(event)
        return None

    def _take_sound(self, chunk: AudioChunk) -> Waveform | None:
        if not len(chunk.waveform):
            return None
        self._sample_rate = chunk.sample_rate
        self._sound.append(chunk.waveform)
        return chunk.waveform

    def _fail(self, event: TurnFailed) -> None:
        self.failure = event.message
        self.tokens.timings = in_ms(event.timings) if event.timings else {}

    def close(self) -> str | None:
        """Make the draft an item of the conversation; called once, however the turn ended.

        Returns:
            The path of the clip of the whole reply, None if nothing was spoken.
        """
        self._exchange.draft = None
        waveform = np.concatenate(self._sound) if self._sound else None
        item = self._conversation.add_reply(
            self._text.strip(), waveform, self._sample_rate, self._status(), self._details()
        )
        return str(item.clip) if item.clip is not None else None

    def _status(self) -> Ending:
        if self.failure is not None:
            return "failed"
        return "completed" if self.done is not None else "cut"

    def _details(self) -> dict[str, Json]:
        options = self._options
        details = self.tokens.details()
        details["sampling"] = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "max_new_tokens": options.max_new_tokens,
            "seed": options.seed,
            "voice": options.voice,
        }
        if self.done is not None:
            details["stop_reason"] = self.done.stop_reason
        if self.failure is not None:
            details["error"] = self.failure
        return details

    def summary(self, phrases: Phrases) -> str:
        """Tell in one line how the turn went."""
        if self.done is None:
            return phrases.stopped
        done, parts = self.done, [phrases.answered]
        if done.timings.first_audio_s is not None:
            parts.append(phrases.first_sound.format(seconds=done.timings.first_audio_s))
        parts.append(
            phrases.speech.format(seconds=done.audio_s) if done.audio_s else phrases.silent
        )
        if done.stop_reason == "length":
            parts.append(phrases.cut)
        elif done.stop_reason == "collapsed":
            parts.append(phrases.collapsed)
        if done.n_dropped_turns:
            parts.append(phrases.forgotten.format(count=done.n_dropped_turns))
        return " · ".join(parts)


def in_ms(timings: TurnTimings) -> dict[str, float]:
    """Turn timings into milliseconds by name, without what did not happen."""
    return {
        name.removesuffix("_s") + "_ms": round(1000 * seconds, 1)
        for name, seconds in asdict(timings).items()
        if seconds is not None
    }


def integers(values: Json) -> list[int]:
    """Keep the whole numbers of a list; anything else is an empty one."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        return []
    return [value for value in values if isinstance(value, int)]
