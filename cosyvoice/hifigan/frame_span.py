"""Stretches of mel frames, and how far a stage of the vocoder looks beyond one. Knows no layers."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class FrameSpan:
    """Mel frames `start` to `stop` - 1 of a mel."""

    start: int
    stop: int

    def widened(self, n_frames: int, within: "FrameSpan") -> "FrameSpan":
        """Add frames on both sides, as far as there are any."""
        start = max(self.start - n_frames, within.start)
        return FrameSpan(start, min(self.stop + n_frames, within.stop))

    def cut(self, x: Tensor, part: "FrameSpan", rate: int, n_extra: int = 0) -> Tensor:
        """Take a part out of a tensor that covers this span.

        Args:
            x: (..., n), with `rate` columns a frame and `n_extra` after the last.
            part: Lies within this span.
            rate: Columns a frame.
            n_extra: Columns kept after the last frame's.
        """
        start = (part.start - self.start) * rate
        return x[..., start : (part.stop - self.start) * rate + n_extra]


@dataclass(frozen=True)
class StageReach:
    """What an output sample depends on at the input of one stage of the vocoder.

    Attributes:
        rate: Columns a mel frame.
        n_extra: Columns after the last frame's, as an STFT has one.
        mel: Mel frames on each side, along the path from the mel.
        source: Mel frames beyond these along the path from the excitation.
    """

    rate: int
    n_extra: int
    mel: int
    source: int
