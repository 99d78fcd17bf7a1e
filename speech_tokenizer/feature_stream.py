"""Log-mel features of one segment whose samples come in pieces. Knows nothing of the encoder.

Features are made one token's frames at a time, always by the same computation, so that they do not
depend on how the samples were cut.
"""

import torch
from torch import Tensor

from speech_tokenizer.features import HOP_LENGTH, N_FFT, log_mel_power

_REACH = N_FFT // 2  # samples on either side of a frame's centre
_LOOKAHEAD = _REACH - HOP_LENGTH  # samples after a token's own that its last frame sees


class FeatureStream:
    """State of one segment.

    Args:
        n_mels: Mel bands.
        frame_size: Samples of a token at 16 kHz.

    Attributes:
        units: For each token, log10 power by mel band, (n_mels, frame_size // 160); those whose
            samples have all come.
        loudest: Highest value of `units`, a scalar.
        n_samples: Samples taken.
    """

    def __init__(self, n_mels: int, frame_size: int) -> None:
        self.units: list[Tensor] = []
        self.loudest = torch.tensor(-torch.inf)
        self.n_samples = 0
        self._n_mels, self._frame_size = n_mels, frame_size
        self._window = torch.hann_window(N_FFT)
        self._waveform = torch.zeros(0)  # what later frames see; starts where `_origin` says
        self._origin = 0

    def push(self, samples: Tensor) -> None:
        """Take (n,) float32 samples at 16 kHz."""
        self.n_samples += samples.shape[0]
        self._waveform = torch.cat([self._waveform, samples])
        n_ready = (self.n_samples - _LOOKAHEAD) // self._frame_size
        for unit in self._make_units(self._waveform, n_ready):
            self.units.append(unit)
            self.loudest = torch.maximum(self.loudest, unit.max())
        surplus = len(self.units) * self._frame_size - _REACH - self._origin
        if surplus > 0:
            self._waveform = self._waveform[surplus:].clone()
            self._origin += surplus

    def closing_units(self) -> list[Tensor]:
        """Make the units still missing as if the segment ended here; changes nothing.

        The last token is filled up with zeros, and what the last frame sees past the end is the
        mirror image of what is before it, as in the features of a whole segment.
        """
        n_units = -(-self.n_samples // self._frame_size)
        filled = self._waveform.new_zeros(n_units * self._frame_size - self._origin)
        filled[: self._waveform.shape[0]] = self._waveform
        mirrored = filled[-_LOOKAHEAD - 1 : -1].flip(0)
        return self._make_units(torch.cat([filled, mirrored]), n_units)

    def _make_units(self, waveform: Tensor, stop: int) -> list[Tensor]:
        """Make units up to number `stop` out of samples that start at `_origin`."""
        return [self._make_unit(waveform, number) for number in range(len(self.units), stop)]

    def _make_unit(self, waveform: Tensor, number: int) -> Tensor:
        """Make the features of one token, (n_mels, frame_size // 160)."""
        first = number * self._frame_size - self._origin
        seen = waveform[max(first - _REACH, 0) : first + self._frame_size + _LOOKAHEAD]
        if number == 0:  # before the start: the mirror image of what follows
            seen = torch.cat([waveform[1 : _REACH + 1].flip(0), seen])
        stft = torch.stft(
            seen.clone(),
            N_FFT,
            HOP_LENGTH,
            window=self._window,
            center=False,
            return_complex=True,
        )
        return log_mel_power(stft, self._n_mels)
