"""One reply as the page sees it grow: its bubble, its sound, its tokens. Knows no component."""

from dataclasses import dataclass, field

import numpy as np

from antiphon.audio import Waveform
from antiphon.demo.conversation import Clip, Conversation, Message
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


@dataclass
class TokenView:
    """The tokens and timings of one turn, for those who want to look inside.

    Attributes:
        user: Speech tokens of the question; empty when it was typed.
        text: Ids of the reply's text tokens.
        audio: Speech tokens of the reply.
        timings: Set when the turn is over.
    """

    user: list[int] = field(default_factory=list)
    text: list[int] = field(default_factory=list)
    audio: list[int] = field(default_factory=list)
    timings: TurnTimings | None = None


class LiveReply:
    """Collects the events of one turn into the last bubble of a conversation."""

    def __init__(self, conversation: Conversation) -> None:
        self.tokens = TokenView()
        self.done: TurnDone | None = None
        self.failure: str | None = None
        self._conversation = conversation
        self._text = ""
        self._sound: list[Waveform] = []
        self._sample_rate = 0
        self._message = Message(role="assistant", content=["…"])
        conversation.messages.append(self._message)

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
            self._message["content"] = [self._text]
        elif isinstance(event, AudioChunk):
            self.tokens.audio += event.speech_tokens
            return self._take_sound(event)
        elif isinstance(event, TurnDone):
            self.done = event
            self.tokens.timings = event.timings
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
        self.tokens.timings = event.timings

    def close(self, phrases: Phrases) -> Clip | None:
        """Complete the bubble with the clip and how it ended; called once, however the turn ended.

        Returns:
            The clip of the whole reply, None if nothing was spoken.
        """
        clip = None
        parts: list[str | Clip] = [self._text.strip()] if self._text.strip() else []
        if self._sound:
            clip = self._conversation.keep_clip(
                np.concatenate(self._sound), self._sample_rate, "reply"
            )
            parts.append(clip)
        if self.failure is not None:
            parts.append(f"⚠ {phrases.failed}: {self.failure}")
        elif self.done is None:
            parts.append(f"■ {phrases.stopped}")
        self._message["content"] = parts or [phrases.silent]
        return clip

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
