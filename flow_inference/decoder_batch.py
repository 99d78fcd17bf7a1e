"""Chooses which blocks of many replies are decoded together. Knows no threads."""

import logging
import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.errors import ConfigError
from flow_inference.audio_decoder import AudioDecoder
from flow_inference.flow_window import solve_windows
from flow_inference.stream import BlockRun
from flow_inference.vocoder_stream import push_together

logger = logging.getLogger(__name__)

CPU_FRAMES = 700
DEVICE_FRAMES = 16_000
DEVICE_FRAME_STEP = 32
DEVICE_VOICES = 64
"""Mel frames in one batch. A full block has 690 and keeps a CPU busy by itself."""


@dataclass(frozen=True)
class BatchOptions:
    """How blocks are grouped.

    Attributes:
        max_frames: Most mel frames in one batch, padding included; a longer block goes alone. None
            leaves it to the device.
        bucket_frames: Blocks go together if their frames, divided by this, are the same whole
            number: so much padding at most.
        frame_step: Batches are padded to a multiple of so many frames, so that a device meets few
            shapes. None leaves it to the device.
        max_voices: Most blocks that go through the vocoder together. None leaves it to the device:
            on a CPU each is heard as soon as it is spoken, which costs nothing there.
    """

    max_frames: int | None = None
    bucket_frames: int = 100
    frame_step: int | None = None
    max_voices: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value < 1:
                raise ConfigError(f"{name} {value}; expected at least 1")


class DecoderBatch:
    """Blocks of many replies that wait to be decoded; every reply sounds as it would alone."""

    def __init__(self, decoder: AudioDecoder, options: BatchOptions | None = None) -> None:
        self._decoder = decoder
        self._options = options or BatchOptions()
        is_cpu = torch.device(decoder.device).type == "cpu"
        self._max_frames = self._options.max_frames or (CPU_FRAMES if is_cpu else DEVICE_FRAMES)
        self._frame_step = self._options.frame_step or (1 if is_cpu else DEVICE_FRAME_STEP)
        self._voices = self._options.max_voices or (1 if is_cpu else DEVICE_VOICES)
        self._waiting: dict[BlockRun, float] = {}

    def __len__(self) -> int:
        """Pushes and flushes that wait for a block."""
        return len(self._waiting)

    @property
    def deadline(self) -> float:
        """The earliest deadline of all that wait; infinite if nobody does."""
        return min(self._waiting.values(), default=math.inf)

    def add(self, run: BlockRun, deadline: float = 0.0) -> None:
        """Let a push or flush that is not done wait for its next block.

        Args:
            run: The push or flush.
            deadline: When it is needed, on any clock. The earliest goes first; equal ones go in
                the order in which they came.
        """
        self._waiting[run] = deadline

    def take_group(self) -> list[BlockRun]:
        """Take out those whose blocks go into the next batch, at least one; some must wait."""
        ordered = sorted(self._waiting, key=lambda run: self._waiting[run])
        bucket, solving = self._bucket(ordered[0]), ordered[0].voice.solving
        alike = [
            run for run in ordered if self._bucket(run) == bucket and run.voice.solving == solving
        ]
        longest = max((bucket + 1) * self._options.bucket_frames, 1)
        group = alike[: max(self._max_frames // longest, 1)]
        for run in group:
            del self._waiting[run]
        return group

    def decode(
        self, group: Sequence[BlockRun]
    ) -> Iterator[tuple[BlockRun, Tensor | Exception] | None]:
        """Decode the next block of each of a group as one batch, step by step.

        What fails together is tried again one by one, so that an error reaches only whose it is.

        Yields:
            Each of them, as soon as it is spoken, with the samples that became final, (n,)
            float32, or with why it failed. None wherever something else may be decoded before.
        """
        mels = yield from self._solve(group)
        solved = list(zip(group, mels, strict=True))
        for first in range(0, len(solved), self._voices):
            yield None
            yield from speak(solved[first : first + self._voices])

    def _solve(
        self, group: Sequence[BlockRun]
    ) -> Generator[None, None, Sequence[Tensor | Exception | None]]:
        """Make the mel (80, n) of each; None where there is nothing to decode."""
        windows = [run.window for run in group if run.window is not None]
        if not windows:
            return [None] * len(group)
        speakers = torch.cat([run.voice.speaker for run in group])
        flow, solving = self._decoder.flow, group[0].voice.solving  # the same of all
        try:
            for mels in solve_windows(flow, windows, speakers, solving, self._frame_step):
                if mels is not None:
                    return mels
                yield None
        except Exception as error:
            if len(group) == 1:
                return [error]
            logger.warning("%d blocks failed together; one by one now", len(group), exc_info=True)
        alone: list[Tensor | Exception | None] = []
        for run in group:
            alone += yield from self._solve([run])
        return alone

    def _bucket(self, run: BlockRun) -> int:
        """Number of the length of a block; -1 where there is nothing to decode."""
        return -1 if run.window is None else run.window.n_frames // self._options.bucket_frames


def speak(
    solved: Sequence[tuple[BlockRun, Tensor | Exception | None]],
) -> Iterator[tuple[BlockRun, Tensor | Exception]]:
    """Give the samples of blocks, spoken as one batch, or why there are none."""
    runs: list[BlockRun] = []
    frames: list[Tensor] = []
    for run, mel in solved:
        if isinstance(mel, Exception):
            yield run, mel
            continue
        try:
            frames.append(run.take(mel))
            runs.append(run)
        except Exception as error:
            yield run, error
    if not runs:
        return
    try:
        sounds = push_together([run.vocoder for run in runs], frames, [r.is_last for r in runs])
    except Exception as error:
        yield from ((run, error) for run in runs)
    else:
        yield from zip(runs, sounds, strict=True)
