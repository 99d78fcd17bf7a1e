"""The original's way to cut a reply into chunks, for comparison with its numbers only.

It keeps the original's faults: the whole history is decoded again for every chunk, and one mel
frame a chunk is lost from the third on. `DecoderStream` is what to use.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cosyvoice.flow.flow import MaskedDiffWithXvec
from cosyvoice.hifigan.generator import HiFTGenerator

OVERLAP_FRAMES = 34
CACHED_FRAMES = 1
CACHED_SAMPLES = 256


@dataclass(frozen=True)
class OriginalChunk:
    """What one chunk gave: mel (1, 80, T), source (1, 1, n), speech (1, m)."""

    mel: Tensor
    source: Tensor
    speech: Tensor


class OriginalStream:
    """State of one reply under the original's chunking."""

    def __init__(self, flow: MaskedDiffWithXvec, hift: HiFTGenerator) -> None:
        self._flow, self._hift = flow, hift
        device = flow.input_embedding.weight.device
        self._token = torch.zeros(1, 0, dtype=torch.int64, device=device)
        self._mel = torch.zeros(1, 80, 0, device=device)
        self.overlap_mel = torch.zeros(1, 80, 0, device=device)
        self.cache_mel = torch.zeros(1, 80, 0, device=device)
        self.cache_source = torch.zeros(1, 1, 0, device=device)

    @torch.no_grad()
    def push(
        self, token: Tensor, noise: Tensor, is_last: bool, source: Tensor | None = None
    ) -> OriginalChunk:
        """Decode one chunk.

        Args:
            token: (1, T) new tokens; all inputs lie on the device of the weights.
            noise: (1, 80, frames of all tokens so far).
            is_last: Nothing is held back.
            source: Excitation to use instead of a drawn one, (1, 1, n).
        """
        mel = torch.cat([self.cache_mel, self._faded(self._new_mel(token, noise))], dim=2)
        if not is_last:
            self.overlap_mel = mel[:, :, -OVERLAP_FRAMES:]
            mel = mel[:, :, :-OVERLAP_FRAMES]
        if source is None:
            source = self._hift.source(self._hift.predict_f0(mel))
            source[:, :, : self.cache_source.shape[2]] = self.cache_source
        speech = self._hift.decode(mel, source)
        if not is_last:
            self.cache_mel = mel[:, :, -CACHED_FRAMES:]
            self.cache_source = source[:, :, -CACHED_SAMPLES:]
            speech = speech[:, :-CACHED_SAMPLES]
        self._token = torch.cat([self._token, token], dim=1)
        self._mel = torch.cat([self._mel, mel], dim=2)
        return OriginalChunk(mel, source, speech)

    def _new_mel(self, token: Tensor, noise: Tensor) -> Tensor:
        """Mel of the new tokens after the whole history as prompt."""
        device = token.device
        size = self._flow.spk_embed_affine_layer.in_features
        return self._flow.inference(
            token,
            torch.tensor([token.shape[1]], device=device),
            self._token,
            torch.tensor([self._token.shape[1]], device=device),
            self._mel.transpose(1, 2),
            torch.tensor([self._mel.shape[2]], device=device),
            torch.zeros(1, size, device=device),
            noise=noise,
        )

    def _faded(self, mel: Tensor) -> Tensor:
        """Fade from the frames held back into the new ones with a Hamming window."""
        n = self.overlap_mel.shape[2]
        if n == 0:
            return mel
        window = torch.from_numpy(np.hamming(2 * n)).to(mel)
        mixed = mel[:, :, :n] * window[:n] + self.overlap_mel * window[n:]
        return torch.cat([mixed, mel[:, :, n:]], dim=2)
