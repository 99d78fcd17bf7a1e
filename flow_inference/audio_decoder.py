"""Loads the decoder checkpoint and turns speech tokens into sound."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from antiphon.checkpoints import load_strict, load_torch, resolve_checkpoint
from antiphon.errors import CheckpointError, ConfigError, PromptError
from cosyvoice.config import load_decoder_config
from cosyvoice.flow.flow import MaskedDiffWithXvec
from cosyvoice.flow.solving import Solving
from cosyvoice.hifigan.generator import HiFTGenerator
from cosyvoice.hifigan.weight_norm import use_older_names
from flow_inference.block_schedule import BlockSchedule, StreamOptions
from flow_inference.crossfade import FrameClock
from flow_inference.mel_stream import FlowWindow, MelStream
from flow_inference.speakers import DEFAULT_VOICE, read_speakers
from flow_inference.stream import DecoderStream, Voice, check_tokens
from flow_inference.vocoder_stream import VocoderStream

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.yaml"
MAX_AT_ONCE = 375
"""Tokens (30 s) up to which `decode` takes a single block; its cost grows with their square."""
LONG_SCHEDULE = BlockSchedule((250, 100))


class AudioDecoder:
    """Flow-matching decoder and vocoder, always in eval mode; holds weights only.

    Args:
        flow: Tokens to mel.
        hift: Mel to waveform.
        sample_rate: Samples a second.
        device: Where the weights are.
        solving: How the flow is solved.
        speakers: Speaker vector (D,) of each voice, the usual one first; None for one of zeros.
    """

    def __init__(
        self,
        flow: MaskedDiffWithXvec,
        hift: HiFTGenerator,
        sample_rate: int,
        device: str = "cpu",
        solving: Solving | None = None,
        speakers: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.flow = flow.to(device).eval().requires_grad_(False)
        self.hift = hift.to(device).eval().requires_grad_(False)
        self.sample_rate, self.device = sample_rate, device
        self.solving = solving or Solving()
        self.clock = FrameClock(flow.input_frame_rate, sample_rate, hift.hop_length)
        size = flow.spk_embed_affine_layer.in_features
        self._speakers = {
            name: vector.to(device)[None]
            for name, vector in (speakers or {DEFAULT_VOICE: torch.zeros(size)}).items()
        }

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, device: str = "cpu", solving: Solving | None = None
    ) -> "AudioDecoder":
        """Load config.yaml, flow.pt, hift.pt and perhaps voices from a folder or a hub name.

        Args:
            name_or_folder: Where the checkpoint is.
            device: Where to put the weights.
            solving: How to solve the flow; None for what config.yaml says under `inference`, and
                without that as published.

        Raises:
            CheckpointError: If a file is missing, damaged or does not fit the config.
            ConfigError: If config.yaml asks for anything that is not ours to build.
        """
        folder = resolve_checkpoint(name_or_folder)
        if not (folder / CONFIG_NAME).is_file():
            raise CheckpointError(f"{folder} has no {CONFIG_NAME}; expected a decoder checkpoint")
        parts = load_decoder_config(folder / CONFIG_NAME)
        _load(parts.flow, folder / "flow.pt")
        _load(parts.hift, folder / "hift.pt")
        parts.hift.remove_weight_norm()
        speakers = read_speakers(folder, parts.flow.spk_embed_affine_layer.in_features)
        solved = solving or parts.solving
        return cls(parts.flow, parts.hift, parts.sample_rate, device, solved, speakers)

    @property
    def codebook_size(self) -> int:
        """Number of speech tokens."""
        return self.flow.input_embedding.num_embeddings

    @property
    def n_weights(self) -> int:
        """Values of flow and vocoder together."""
        return sum(p.numel() for part in (self.flow, self.hift) for p in part.parameters())

    @property
    def voices(self) -> tuple[str, ...]:
        """Voices to choose from, the usual one first."""
        return tuple(self._speakers)

    def decode(
        self, tokens: Sequence[int] | Tensor, voice: str | None = None, seed: int = 0
    ) -> Tensor:
        """Turn the tokens of a whole reply into sound.

        Args:
            tokens: (T,) or (1, T) whole numbers in [0, codebook_size).
            voice: One of `voices`; None for the first.
            seed: Seed of all noise.

        Returns:
            (n_samples,) float32 on the CPU, n_samples = 256 * int(T / 12.5 * 22050 / 256).

        Raises:
            PromptError: If there are no tokens, or one is out of range or no whole number.
            ConfigError: If there is no such voice.
        """
        checked = self._checked(tokens)
        schedule = (
            LONG_SCHEDULE if len(checked) > MAX_AT_ONCE else BlockSchedule((len(checked) + 1,))
        )
        with self.open_stream(voice, seed, StreamOptions(schedule)) as stream:
            return torch.cat([stream.push(checked), stream.flush()])

    def decode_mel(
        self, tokens: Sequence[int] | Tensor, voice: str | None = None, seed: int = 0
    ) -> Tensor:
        """Turn the tokens of a whole reply into the mel that a stream would make of them.

        Args:
            tokens: (T,) or (1, T) whole numbers in [0, codebook_size).
            voice: One of `voices`; None for the first.
            seed: Seed of the noise.

        Returns:
            (80, int(T / 12.5 * 22050 / 256)) float32 on the CPU.

        Raises:
            PromptError: If there are no tokens, or one is out of range or no whole number.
            ConfigError: If there is no such voice.
        """
        checked = self._checked(tokens)
        stream = self._open_mel(self._voice(voice), seed, StreamOptions())
        return torch.cat([*stream.push(checked), stream.flush()], dim=1)

    def open_stream(
        self,
        voice: str | None = None,
        seed: int = 0,
        schedule: BlockSchedule | StreamOptions | None = None,
    ) -> DecoderStream:
        """Open the state of one reply; use it as a context manager.

        Args:
            voice: One of `voices`; None for the first.
            seed: Seed of all noise.
            schedule: Sizes of the blocks, or all options of streaming.

        Raises:
            ConfigError: If there is no such voice.
        """
        options = StreamOptions(schedule) if isinstance(schedule, BlockSchedule) else schedule
        spoken = self._voice(voice)
        mel = self._open_mel(spoken, seed, options or StreamOptions())
        vocoder = VocoderStream(self.hift, seed + 1)
        return DecoderStream(mel, vocoder, spoken, self.codebook_size)

    def _open_mel(self, voice: Voice, seed: int, options: StreamOptions) -> MelStream:
        """Open the mel of one reply in a voice."""
        window = FlowWindow(self.flow, voice.speaker, voice.solving)
        return MelStream(window, options, self.clock, seed)

    def _checked(self, tokens: Sequence[int] | Tensor) -> list[int]:
        """Check the tokens of a whole reply.

        Raises:
            PromptError: If there are none, or one is out of range or no whole number.
        """
        checked = check_tokens(tokens, self.codebook_size)
        if not checked:
            raise PromptError("no speech tokens to decode; expected at least one")
        return checked

    def _voice(self, voice: str | None) -> Voice:
        """Speaker vector (1, D) of a voice, and how its mel is solved."""
        name = self.voices[0] if voice is None else voice
        if name not in self._speakers:
            raise ConfigError(f"no voice {voice!r}; expected one of: {', '.join(self.voices)}")
        is_usual = name == self.voices[0]
        solving = self.solving if is_usual else self.solving.for_other_voice()
        return Voice(self._speakers[name], solving)


def _load(module: nn.Module, path: Path) -> None:
    """Load a state dict strictly and refuse weights that are not finite."""
    state = use_older_names(load_torch(path))
    for key, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {key} holds values that are not finite; fetch it again")
    load_strict(module, state, path)
    logger.debug("loaded %d tensors from %s", len(state), path)
