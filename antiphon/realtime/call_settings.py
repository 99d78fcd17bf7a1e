"""A call's wire settings in the terms of the parts: endpointer, turn options, warnings."""

from collections.abc import Iterator
from dataclasses import dataclass

from antiphon.api.realtime_messages import Message
from antiphon.api.realtime_session import (
    OUTPUT_RATE,
    ResponseSettings,
    ServerVad,
    SessionSettings,
)
from antiphon.dialogue.turn_pipeline import TurnOptions
from antiphon.errors import ConfigError
from antiphon.realtime.endpointer import EndpointerOptions

SILENCE_BY_EAGERNESS = {"low": 900, "medium": 500, "high": 250, "auto": 400}  # ms


@dataclass(frozen=True)
class Notice:
    """Something a client asked for that is not done; code and words of `antiphon.warning`."""

    code: str
    text: str


def turn_detection(settings: SessionSettings) -> ServerVad | None:
    """Give how turns are found; None where the client says so itself."""
    wanted = settings.audio.input.turn_detection
    if wanted is None or isinstance(wanted, ServerVad):
        return wanted
    return ServerVad(
        silence_duration_ms=SILENCE_BY_EAGERNESS[wanted.eagerness],
        create_response=wanted.create_response,
        interrupt_response=wanted.interrupt_response,
    )


def endpointer_options(detection: ServerVad) -> EndpointerOptions:
    """Give the endpointer's options."""
    return EndpointerOptions(
        threshold=detection.threshold,
        prefix_padding_ms=detection.prefix_padding_ms,
        silence_duration_ms=detection.silence_duration_ms,
    )


def turn_options(settings: SessionSettings, voices: tuple[str, ...]) -> TurnOptions:
    """Give the options of one reply.

    Raises:
        ConfigError: If a value is not acceptable.
    """
    limit = settings.max_output_tokens
    most = TurnOptions.max_new_tokens
    voice = settings.audio.output.voice
    return TurnOptions(
        temperature=settings.temperature,
        top_p=settings.antiphon.top_p,
        max_new_tokens=most if limit == "inf" else limit,
        seed=settings.antiphon.seed,
        voice=voice if voice in voices else None,
        speak="audio" in settings.output_modalities,
    )


def for_response(settings: SessionSettings, change: ResponseSettings) -> SessionSettings:
    """Lay what one `response.create` says over the call's settings."""
    named = {
        name: value
        for name in ("output_modalities", "max_output_tokens", "temperature")
        if (value := getattr(change, name)) is not None
    }
    return settings.model_copy(update=named)


def check(settings: SessionSettings) -> None:
    """Refuse what cannot be done.

    Raises:
        ConfigError: If the output's rate is another than ours, or a limit makes no sense.
    """
    if settings.audio.output.format.rate != OUTPUT_RATE:
        raise ConfigError(
            f"output rate {settings.audio.output.format.rate} Hz; only {OUTPUT_RATE} Hz is sent"
        )
    turn_options(settings, ())
    detection = turn_detection(settings)
    if detection is not None:
        endpointer_options(detection)


def notices(
    old: SessionSettings, new: SessionSettings, voices: tuple[str, ...]
) -> Iterator[Notice]:
    """Say what is newly asked for and not done."""
    if new.instructions and new.instructions != old.instructions:
        yield Notice("instructions_ignored", "the model takes no instructions but its own")
    if new.tools and new.tools != old.tools:
        yield Notice("tools_ignored", "the model calls no tools")
    if new.audio.output.speed not in (1.0, old.audio.output.speed):
        yield Notice("speed_ignored", "the server speaks at its own pace; the player may change it")
    voice = new.audio.output.voice
    if voice is not None and voice not in voices and voice != old.audio.output.voice:
        known = ", ".join(voices) or "only the model's own"
        yield Notice("voice_unknown", f"no voice {voice!r}; there is: {known}")


def session_json(session_id: str, model: str, settings: SessionSettings) -> Message:
    """Give the settings as `session.created` and `session.updated` hold them."""
    wire: Message = settings.model_dump(mode="json", exclude={"instructions", "tools"})
    wire |= {"id": session_id, "object": "realtime.session", "model": model}
    wire |= {"instructions": settings.instructions or "", "tools": []}
    return wire
