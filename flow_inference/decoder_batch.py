"""Chooses which blocks of many replies are decoded together. Knows no threads."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from antiphon.errors import ConfigError
from flow_inference.audio_decoder import AudioDecoder
from flow_inference.flow_window import decode_windows
from flow_inference.stream import BlockRun

CPU_FRAMES = 700
DEVICE_FRAMES = 16_000
"""Mel frames in one batch. A full block has 690 and keeps a CPU busy by itself."""


@dataclass(frozen=True)
class BatchOptions:
    """How blocks are grouped.

    Attributes:
        max_frames: Most mel frames in one batch, padding included; a longer block goes alone. None
            leaves it to the device.
        bucket_frames: Blocks go together if their frames, divided by this, are the same whole
            number: so much padding at most.
    """

    max_frames: int | None = None
    bucket_frames: int = 100

    def __post_init__(self) -> None:
        if self.bucket_frames < 1 or (self.max_frames is not None and self.max_frames < 1):
            raise ConfigError(
                f"max_frames {self.max_frames}, bucket_frames {self.bucket_frames}; expected at "
                "least 1"
            )


class DecoderBatch:
    """Blocks of many replies that wait to be decoded; every reply sounds as it would alone.

    Replies that have not been heard yet come first, then whoever has waited longest.
    """

    def __init__(self, decoder: AudioDecoder, options: BatchOptions | None = None) -> None:
        self._decoder = decoder
        self._options = options or BatchOptions()
        default = CPU_FRAMES if torch.device(decoder.device).type == "cpu" else DEVICE_FRAMES
        self._max_frames = self._options.max_frames or default
        self._waiting: list[BlockRun] = []

    def __len__(self) -> int:
        """Pushes and flushes that wait for a block."""
        return len(self._waiting)

    def add(self, run: BlockRun) -> None:
        """Let a push or flush wait for its next block."""
        self._waiting.append(run)

    def take_group(self) -> list[BlockRun]:
        """Take out those whose blocks go into the next batch, at least one; some must wait."""
        ordered = sorted(self._waiting, key=lambda run: not run.is_first_sound)
        bucket = self._bucket(ordered[0])
        alike = [run for run in ordered if self._bucket(run) == bucket]
        longest = (bucket + 1) * self._options.bucket_frames
        group = alike[: max(self._max_frames // longest, 1)]
        self._waiting = [run for run in self._waiting if run not in group]
        return group

    def decode(self, group: Sequence[BlockRun]) -> None:
        """Decode the next block of each of a group as one batch."""
        windows = [run.window for run in group if run.window is not None]
        speakers = torch.cat([run.speaker for run in group])
        mels = decode_windows(self._decoder.flow, windows, speakers, self._decoder.n_timesteps)
        for run, mel in zip(group, mels, strict=True):
            run.accept(mel)

    def _bucket(self, run: BlockRun) -> int:
        assert run.window is not None, "all blocks of this run are decoded"
        return run.window.n_frames // self._options.bucket_frames
