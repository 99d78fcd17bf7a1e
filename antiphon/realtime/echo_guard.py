"""PLACEHOLDER docstring."""

from antiphon.audio import Waveform


class EchoGuard:
    """x."""

    is_active = False

    def push(self, frame: Waveform, probability: float, threshold: float) -> int:
        """X."""
        return 0

    def begin(self) -> None:
        """X."""

    def add(self, samples: Waveform) -> None:
        """X."""

    def note_position(self, played_ms: float, input_ms: float) -> None:
        """X."""
