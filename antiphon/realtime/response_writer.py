"""One response as events in the order OpenAI's clients expect: begin, text and sound, finish.

Knows no pipeline: it is told what to say and how it ended.
"""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from antiphon.api.realtime_messages import (
    ItemStatus,
    Json,
    Message,
    ResponseStatus,
    item,
    message,
    new_id,
    part,
)
from antiphon.api.realtime_session import OUTPUT_RATE, SessionSettings
from antiphon.audio import ResampleStream, Waveform, float_to_pcm16
from antiphon.realtime.outbox import Outbox
from antiphon.realtime.word_timing import TimedWord, WordTimer


@dataclass
class StageTimes:
    """Points in time in ms, counted from the end of the person's speech.

    `endpoint_ms` is the silence waited for and the detection.
    """

    endpoint_ms: float = 0.0
    tokenise_ms: float | None = None
    first_text_ms: float | None = None
    first_audio_ms: float | None = None
    total_ms: float | None = None

    def to_json(self) -> Message:
        """Round to a tenth of a ms."""
        return {name: v if v is None else round(v, 1) for name, v in vars(self).items()}


@dataclass
class Said:
    """What was said so far: text with the number of its tokens, and sound at `OUTPUT_RATE`."""

    pieces: list[tuple[str, int]] = field(default_factory=list)
    sound: list[Waveform] = field(default_factory=list)
    n_samples: int = 0

    @property
    def text(self) -> str:
        """All of the text."""
        return "".join(text for text, _ in self.pieces)

    @property
    def audio_ms(self) -> int:
        """Length of the sound."""
        return self.n_samples * 1000 // OUTPUT_RATE

    def beginning(self, n_tokens: int) -> str:
        """Give the text of the first `n_tokens` text tokens, as far as it came."""
        kept = ""
        for text, n in self.pieces:
            n_tokens -= n
            if n_tokens < 0:
                break
            kept += text
        return kept


class ResponseWriter:
    """Writes one response.

    Attributes:
        response_id: "resp_...".
        item_id: "item_...", of the assistant's message.
        said: What was said so far.
        times: When.
        status: How it ended; "in_progress" before.
        has_begun: Whether `response.created` was sent.
        has_item: Whether anything was said.
        settings: Of this response.
    """

    def __init__(
        self, outbox: Outbox, conversation_id: str, settings: SessionSettings, is_binary: bool
    ) -> None:
        self.response_id, self.item_id = new_id("resp"), new_id("item")
        self.said = Said()
        self.times = StageTimes()
        self.status: ResponseStatus = "in_progress"
        self.has_begun = False
        self._outbox = outbox
        self._conversation_id = conversation_id
        self.settings = settings
        self._is_binary = is_binary
        self._speaks = "audio" in settings.output_modalities
        self.has_item = False
        self._words = WordTimer()
        self._resampler: ResampleStream | None = None
        self._began_at = 0.0
        self._previous: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether it has begun and not ended."""
        return self.has_begun and self.status == "in_progress"

    def begin(self, endpoint_ms: float, previous_item_id: str | None) -> None:
        """Send `response.created`; the clock starts."""
        self.has_begun = True
        self._began_at = time.perf_counter()
        self.times.endpoint_ms = endpoint_ms
        self._previous = previous_item_id
        self._send("response.created", response=self._response())

    def now_ms(self) -> float:
        """Tell the time since the end of the person's speech."""
        return (time.perf_counter() - self._began_at) * 1000 + self.times.endpoint_ms

    def mark_tokenised(self) -> None:
        """The person's words are tokens."""
        self.times.tokenise_ms = self.times.tokenise_ms or self.now_ms()

    def write_text(self, text: str, n_tokens: int) -> None:
        """Send a stretch of text."""
        self.said.pieces.append((text, n_tokens))
        if not text:
            return
        self.times.first_text_ms = self.times.first_text_ms or self.now_ms()
        self._open_item()
        if self._speaks:
            words = words_json(self._words.push(text, n_tokens))
            extra: Message = {"antiphon": {"words": words}}
            self._send_delta("response.output_audio_transcript.delta", delta=text, **extra)
        else:
            self._send_delta("response.output_text.delta", delta=text)

    def write_sound(self, waveform: Waveform, sample_rate: int) -> None:
        """Send (n_samples,) of sound."""
        if self._resampler is None:
            self._resampler = ResampleStream(sample_rate, OUTPUT_RATE)
        self._write_samples(self._resampler.push(waveform))

    def finish(
        self, status: ResponseStatus, details: Message | None = None, own: Message | None = None
    ) -> None:
        """Send all that ends a response; a second call does nothing.

        Args:
            status: How it ended.
            details: `status_details`.
            own: Counts for `antiphon` beside the timings.
        """
        if not self.is_active:
            return
        if self._resampler is not None and status != "cancelled":
            self._write_samples(self._resampler.finish())
        self.status = status
        self.times.total_ms = self.now_ms()
        if self.has_item:
            self._close_item()
        response = self._response()
        response["status_details"] = details
        response["antiphon"] = {
            "timings": self.times.to_json(),
            "audio_ms": self.said.audio_ms,
            **(own or {}),
        }
        if own is not None:
            response["usage"] = usage(own)
        self._send("response.done", response=response)

    def _write_samples(self, samples: Waveform) -> None:
        if not len(samples) or not self._speaks:
            return
        self._open_item()
        own: Message = {"n_samples": len(samples), "start_ms": self.said.audio_ms}
        own["server_t"] = time.monotonic()  # the clock of `antiphon.pong`
        if self.times.first_audio_ms is None:
            self.times.first_audio_ms = self.now_ms()
            own["timings"] = self.times.to_json()
        self.said.n_samples += len(samples)
        self.said.sound.append(np.asarray(samples))
        data = float_to_pcm16(samples).astype("<i2").tobytes()
        delta = "" if self._is_binary else base64.b64encode(data).decode()
        self._send_delta("response.output_audio.delta", delta=delta, antiphon=own)
        if self._is_binary:
            self._outbox.send_frames(data)

    def _open_item(self) -> None:
        if self.has_item:
            return
        self.has_item = True
        self._send("response.output_item.added", output_index=0, item=self._item("in_progress", []))
        self._send(
            "conversation.item.added",
            previous_item_id=self._previous,
            item=self._item("in_progress", []),
        )
        self._send_delta("response.content_part.added", part=self._wire_part(""))

    def _close_item(self) -> None:
        text = self.said.text
        if self._speaks:
            self._send_delta("response.output_audio.done")
            self._send_delta("response.output_audio_transcript.done", transcript=text)
            self._send_words()
        else:
            self._send_delta("response.output_text.done", text=text)
        self._send_delta("response.content_part.done", part=self._wire_part(text))
        finished = self.wire_item()
        self._send("response.output_item.done", output_index=0, item=finished)
        self._send("conversation.item.done", previous_item_id=self._previous, item=finished)

    def _send_words(self) -> None:
        """Tell when each word is heard, now that the length of the sound is known."""
        if self.status == "completed" and self.said.n_samples:
            words = words_json(self._words.spread(self.said.audio_ms))
            self._send("antiphon.words", item_id=self.item_id, words=words)

    def wire_item(self, text: str | None = None) -> Message:
        """Give the assistant's message in OpenAI's form."""
        status: ItemStatus = "completed" if self.status == "completed" else "incomplete"
        kind = "output_audio" if self._speaks else "output_text"
        return self._item(status, [part(kind, self.said.text if text is None else text)])

    def _item(self, status: ItemStatus, content: Sequence[Message]) -> Message:
        return item(self.item_id, "assistant", content, status)

    def _wire_part(self, text: str) -> Message:
        return part("audio", text) if self._speaks else part("text", text)

    def _response(self) -> Message:
        output: list[Json] = [self.wire_item()] if self.has_item else []
        return {
            "id": self.response_id,
            "object": "realtime.response",
            "status": self.status,
            "status_details": None,
            "output": output,
            "conversation_id": self._conversation_id,
            "output_modalities": list(self.settings.output_modalities),
            "max_output_tokens": self.settings.max_output_tokens,
            "usage": None,
        }

    def _send_delta(self, kind: str, **fields: Json) -> None:
        self._send(
            kind,
            response_id=self.response_id,
            item_id=self.item_id,
            output_index=0,
            content_index=0,
            **fields,
        )

    def _send(self, kind: str, **fields: Json) -> None:
        if kind.startswith("response.output_item"):
            fields["response_id"] = self.response_id
        self._outbox.send(message(kind, **fields))


def words_json(words: Sequence[TimedWord]) -> list[Json]:
    """Give timed words as JSON."""
    return [{"text": word.text, "start_ms": word.start_ms} for word in words]


def usage(own: Message) -> Message:
    """Count tokens as OpenAI does; what went in is not counted."""
    n_text, n_audio = own.get("n_text_tokens", 0), own.get("n_audio_tokens", 0)
    total = n_text + n_audio if isinstance(n_text, int) and isinstance(n_audio, int) else 0
    return {
        "total_tokens": total,
        "input_tokens": 0,
        "output_tokens": total,
        "output_token_details": {"text_tokens": n_text, "audio_tokens": n_audio},
    }
