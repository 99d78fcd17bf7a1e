"""The wire form of a call's settings: what `session.update` may hold, what `session.created` tells.

Names and shapes are those of OpenAI's Realtime API; what is ours stands under `antiphon`. Fields
that are not known are ignored, since clients send settings of other servers.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

OUTPUT_RATE = 24_000
"""Rate of the sound that is sent, in Hz."""

Modality = Literal["text", "audio"]


class Lenient(BaseModel):
    """A part of an event; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class AudioFormat(Lenient):
    """Format of sound: `{"type": "audio/pcm", "rate": 24000}`; 16-bit, little-endian, one channel.

    Other input rates than 24,000 Hz are ours.
    """

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: int = Field(default=OUTPUT_RATE, ge=8_000, le=96_000)


class ServerVad(Lenient):
    """Hands-free talk: `{"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 400}`.

    Attributes:
        threshold: Probability from which sound counts as speech; lower is more sensitive.
        prefix_padding_ms: Sound before the speech that belongs to it.
        silence_duration_ms: Silence that ends a turn.
        create_response: Whether the end of a turn is answered.
        interrupt_response: Whether speech stops the reply.
        idle_timeout_ms: Tell when nobody spoke for so long after a reply.
    """

    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(default=0.5, gt=0, lt=1)
    prefix_padding_ms: int = Field(default=300, ge=0, le=5_000)
    silence_duration_ms: int = Field(default=400, ge=100, le=10_000)
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: int | None = Field(default=None, ge=1_000, le=600_000)


class SemanticVad(Lenient):
    """Taken as `server_vad`; eagerness decides how long a silence ends a turn."""

    type: Literal["semantic_vad"]
    create_response: bool = True
    interrupt_response: bool = True
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class Transcription(Lenient):
    """What a client asks of the transcript of the person's own words; the model is ours."""

    model: str | None = None
    language: str | None = None


class AudioInput(Lenient):
    """What is heard."""

    format: AudioFormat = AudioFormat()
    turn_detection: TurnDetection | None = ServerVad()
    transcription: Transcription | None = None


class AudioOutput(Lenient):
    """What is said; other rates than 24,000 Hz are not sent."""

    format: AudioFormat = AudioFormat()
    voice: str | None = None
    speed: float = Field(default=1.0, ge=0.25, le=1.5)


class AudioSettings(Lenient):
    """Both directions."""

    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


class OwnSettings(Lenient):
    """What only our server knows.

    Attributes:
        top_p: Nucleus mass in (0, 1].
        seed: Same seed, same reply.
        half_duplex: Hear nothing while a reply plays.
        echo_guard: Tell a person from the reply's own sound in the microphone.
        language: Language of messages; for the client's own use.
        show_tokens: Send `antiphon.tokens`.
    """

    top_p: float = Field(default=0.8, gt=0, le=1)
    seed: int | None = None
    half_duplex: bool = False
    echo_guard: bool = True
    language: str | None = None
    show_tokens: bool = False


class SessionSettings(Lenient):
    """A call's settings; in `session.update` what is missing stays as it is.

    Example: `{"type": "realtime", "audio": {"input": {"turn_detection": null}}}`.
    """

    type: Literal["realtime"] = "realtime"
    output_modalities: tuple[Modality, ...] = Field(default=("audio",), min_length=1)
    audio: AudioSettings = AudioSettings()
    max_output_tokens: int | Literal["inf"] = Field(default="inf")
    temperature: float = Field(default=0.2, ge=0, le=2)
    antiphon: OwnSettings = OwnSettings()
    instructions: str | None = None
    tools: tuple[dict[str, object], ...] = ()


class ResponseSettings(Lenient):
    """What one `response.create` may settle for its reply alone; None leaves it as it is."""

    output_modalities: tuple[Modality, ...] | None = None
    max_output_tokens: int | Literal["inf"] | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    instructions: str | None = None


def merge(old: SessionSettings, change: object) -> SessionSettings:
    """Lay the fields of a `session.update` over the settings so far.

    Args:
        old: The settings so far.
        change: JSON of the `session`; what it does not name stays.

    Raises:
        pydantic.ValidationError: If a value is not acceptable; says where.
    """
    return SessionSettings.model_validate(lay_over(old.model_dump(mode="json"), change))


def lay_over(old: object, change: object) -> object:
    """Merge JSON objects key by key; everything else is replaced.

    An object whose `type` changes is replaced as a whole: the other type has other fields.
    """
    if not (isinstance(old, dict) and isinstance(change, dict)):
        return change
    if change.get("type", old.get("type")) != old.get("type"):
        return change
    merged = {key: lay_over(value, change.get(key, value)) for key, value in old.items()}
    return {**change, **merged}
