"""Speech tokens while the person still speaks: the same ids as `SpeechTokenizer.encode`, always.

An id depends on its own attention block and on the past, and on one thing more: the features lift
values that are 8 powers of ten below the loudest of the segment. So a complete block changes if,
and only if, something louder than all before comes within its 30 s segment. Ids are therefore
*final* when their segment is complete; those of complete blocks are *settled*, computed anew as
soon as something louder comes; those of the open block change with every sample.
"""

from dataclasses import dataclass
from typing import Self

import numpy.typing as npt
import torch
from torch import Tensor

from antiphon.audio import ResampleStream, check_duration, check_waveform, to_float
from antiphon.errors import AudioError, EngineError
from speech_tokenizer.block_state import BlockState
from speech_tokenizer.feature_stream import FeatureStream
from speech_tokenizer.features import SAMPLE_RATE, frame_mask, scale_log_mel
from speech_tokenizer.modeling_whisper import WhisperVQEncoder


@dataclass
class _Blocks:
    """The blocks of a segment that are computed, all with the same loudest value.

    Attributes:
        loudest: Highest log10 power, a scalar.
        state: What the encoder keeps of them.
        ids: Their tokens, a tensor (T,) for each block.
    """

    loudest: Tensor
    state: BlockState
    ids: list[Tensor]


class _Segment:
    """At most 30 s of sound at 16 kHz."""

    def __init__(self, model: WhisperVQEncoder) -> None:
        config = model.config
        self._model = model
        self._features = FeatureStream(config.num_mel_bins, config.frame_size)
        self._blocks = self._start(torch.tensor(-torch.inf))

    def _start(self, loudest: Tensor) -> _Blocks:
        return _Blocks(loudest, BlockState.start(len(self._model.layers)), [])

    @property
    def n_samples(self) -> int:
        """Samples taken."""
        return self._features.n_samples

    @property
    def settled(self) -> Tensor:
        """Tokens of the complete blocks, (T,)."""
        return torch.cat([torch.empty(0, dtype=torch.int64), *self._blocks.ids])

    def push(self, samples: Tensor) -> None:
        """Take (n,) samples; compute blocks that became complete, or all after a louder sound."""
        self._features.push(samples)
        units, loudest = self._features.units, self._features.loudest
        n_complete = len(units) - len(units) % self._model.config.block_tokens
        if bool(loudest > self._blocks.loudest):
            self._blocks = self._start(loudest)
        self._extend(self._blocks, units[:n_complete])

    def ids_if_ended(self) -> Tensor:
        """Tokens of everything taken, as if the segment ended here, (T,); changes nothing."""
        closing = self._features.closing_units()
        units = [*self._features.units, *closing]
        loudest = torch.stack([self._features.loudest, *(unit.max() for unit in closing)]).max()
        if bool(loudest > self._blocks.loudest):
            blocks = self._start(loudest)
        else:
            blocks = _Blocks(loudest, self._blocks.state.copy(), list(self._blocks.ids))
        self._extend(blocks, units)
        return torch.cat(blocks.ids)

    def _extend(self, blocks: _Blocks, units: list[Tensor]) -> None:
        """Compute the blocks of `units` that are missing in `blocks`; the last may be short."""
        size = self._model.config.block_tokens
        for start in range(len(blocks.ids) * size, len(units), size):
            block = units[start : start + size]
            features = scale_log_mel(torch.cat(block, dim=1), blocks.loudest)[None]
            n_before = start * block[0].shape[1]
            n_frames = features.shape[2]
            mask = frame_mask([self.n_samples], n_before + n_frames)[:, n_before:]
            device = self._model.conv1.weight.device
            hidden = self._model.hidden_of_block(features.to(device), mask.to(device), blocks.state)
            blocks.ids.append(self._model.quantizer.nearest(hidden)[0].cpu())


class SpeechTokenStream:
    """One utterance being heard: push samples as they come, finish when the person has ended.

    Use it as a context manager; leaving closes it and frees its state. At any time, what `push`
    returned so far and `provisional()` are together what `encode` gives for the samples pushed.

    Args:
        model: The network, in eval mode; holds weights only.
        sample_rate: Rate of the samples in Hz.

    Raises:
        AudioError: If there is no such rate.
    """

    def __init__(self, model: WhisperVQEncoder, sample_rate: int) -> None:
        self._model = model
        self._sample_rate = sample_rate
        self._resampler = ResampleStream(sample_rate, SAMPLE_RATE)
        self._n_pushed = 0
        self._segment: _Segment | None = _Segment(model)

    @torch.no_grad()
    def push(self, samples: Tensor | npt.ArrayLike) -> Tensor:
        """Take the next samples of one channel.

        Args:
            samples: (n,) at the stream's rate, maybe none; float in [-1, 1], or integers.

        Returns:
            Ids that became final, (T,) int64 on the CPU: those of a segment that is complete.

        Raises:
            AudioError: If the samples are not finite or of another shape, or all of them are longer
                than ten minutes; the stream stays as it was.
            EngineError: If the stream is finished or closed.
        """
        self._open_segment()
        waveform = to_float(samples.cpu().numpy() if isinstance(samples, Tensor) else samples)
        if waveform.ndim != 1:
            raise AudioError(f"samples of shape {waveform.shape}; expected (n_samples,)")
        if waveform.size == 0:
            return torch.empty(0, dtype=torch.int64)
        check_waveform(waveform)
        check_duration(self._n_pushed + waveform.shape[0], self._sample_rate)
        self._n_pushed += waveform.shape[0]
        return self._hear(torch.tensor(self._resampler.push(waveform)))

    @property
    def settled(self) -> Tensor:
        """Ids of complete blocks that are not final yet, (T,) int64; costs nothing.

        A later push changes them only if it brings something louder than all before.
        """
        return self._open_segment().settled

    @torch.no_grad()
    def provisional(self) -> Tensor:
        """Compute all ids that are not final, as if the person ended here, (T,) int64.

        The first ones are `settled`, unless the end itself is louder than all before; the open
        block is computed for this call alone. Samples still in the resampler (some 20 ms, none at
        16 kHz) are left out.
        """
        segment = self._open_segment()
        return segment.ids_if_ended() if segment.n_samples else segment.settled

    @torch.no_grad()
    def finish(self) -> Tensor:
        """Return all ids not given out yet, (T,) int64, and close the stream.

        Raises:
            AudioError: If no samples came.
            EngineError: If the stream is finished or closed already.
        """
        self._open_segment()
        if not self._n_pushed:
            raise AudioError("the audio holds no samples; record or export it again")
        complete = self._hear(torch.tensor(self._resampler.finish()))
        rest = self.provisional()
        self.close()
        return torch.cat([complete, rest])

    def close(self) -> None:
        """Free the state; ids not given out are lost. A second call does nothing."""
        self._segment = None

    def _hear(self, waveform: Tensor) -> Tensor:
        """Take (n,) samples at 16 kHz; return the ids of segments that are complete."""
        final = [torch.empty(0, dtype=torch.int64)]
        limit = self._model.config.max_samples
        while waveform.shape[0]:
            segment = self._open_segment()
            n_taken = limit - segment.n_samples
            segment.push(waveform[:n_taken])
            waveform = waveform[n_taken:]
            if segment.n_samples == limit:
                final.append(segment.ids_if_ended())
                self._segment = _Segment(self._model)
        return torch.cat(final)

    def _open_segment(self) -> _Segment:
        """The segment being heard, if the stream is open."""
        if self._segment is None:
            raise EngineError(
                "this stream of speech tokens is finished or closed; open a new one for the next "
                "utterance"
            )
        return self._segment

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
