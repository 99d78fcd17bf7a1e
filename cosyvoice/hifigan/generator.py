"""HiFT vocoder: mel spectrogram to waveform through an inverse STFT. Knows nothing of tokens.

Sources: Kaneko et al., "iSTFTNet" (arXiv 2203.02395); Li et al., "HiFTNet" (arXiv 2309.09493);
Snake activation from Ziyin et al. (arXiv 2006.08195). Names are those of published checkpoints.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cosyvoice.hifigan.f0_predictor import ConvRNNF0Predictor
from cosyvoice.hifigan.frame_span import FrameSpan, StageReach
from cosyvoice.hifigan.source import SourceDraws, SourceModuleHnNSF, draw_source
from cosyvoice.hifigan.weight_norm import (
    WeightNormConv1d,
    WeightNormConvTranspose1d,
    remove_weight_norm,
)

_MAX_MAGNITUDE = 1e2
_LAST_SLOPE = 0.01  # the published model leaves the last leaky ReLU at torch's default


class Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha with an alpha for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Activate (B, C, T)."""
        alpha = self.alpha[:, None]
        sine = torch.sin(alpha * x)
        return torch.addcmul(x, sine * (alpha + 1e-9).reciprocal(), sine)


class ResBlock(nn.Module):
    """Pairs of a dilated and a plain convolution, each pair with a shortcut."""

    def __init__(
        self, channels: int = 512, kernel_size: int = 3, dilations: Sequence[int] = (1, 3, 5)
    ) -> None:
        super().__init__()
        half = (kernel_size - 1) // 2
        self.reach = sum(half * dilation + half for dilation in dilations)
        self.convs1 = nn.ModuleList(
            WeightNormConv1d(channels, channels, kernel_size, padding=half * d, dilation=d)
            for d in dilations
        )
        self.convs2 = nn.ModuleList(
            WeightNormConv1d(channels, channels, kernel_size, padding=half) for _ in dilations
        )
        self.activations1 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Filter (B, C, T)."""
        layers = zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True)
        for activate1, conv1, activate2, conv2 in layers:
            x = x + conv2(activate2(conv1(activate1(x))))
        return x


class HiFTGenerator(nn.Module):
    """Vocoder with a harmonic source; the constructor's names are checkpoint-config keys.

    Args:
        in_channels: Mel channels.
        base_channels: Width after the first convolution; halved by each upsampling.
        nb_harmonics: Overtones of the source.
        sampling_rate: Samples a second.
        nsf_alpha, nsf_sigma: Levels of the sines and of the noise on them.
        nsf_voiced_threshold: f0 in Hz above which a sample counts as voiced.
        upsample_rates, upsample_kernel_sizes: One upsampling each.
        istft_params: `n_fft` and `hop_len` of the inverse STFT.
        resblock_kernel_sizes, resblock_dilation_sizes: Parallel blocks after each upsampling.
        source_resblock_kernel_sizes, source_resblock_dilation_sizes: Blocks on the source path.
        lrelu_slope: Slope of the leaky ReLU before each upsampling.
        audio_limit: Largest absolute sample.
        f0_predictor: Module from mel (B, C, T) to f0 (B, T).

    Attributes:
        hop_length: Samples a mel frame.
        reaches: How far each stage looks.
        context_frames: Mel frames on each side that a sample depends on, given the excitation.
    """

    def __init__(
        self,
        in_channels: int = 80,
        base_channels: int = 512,
        nb_harmonics: int = 8,
        sampling_rate: int = 22050,
        nsf_alpha: float = 0.1,
        nsf_sigma: float = 0.003,
        nsf_voiced_threshold: float = 10,
        upsample_rates: Sequence[int] = (8, 8),
        upsample_kernel_sizes: Sequence[int] = (16, 16),
        istft_params: dict[str, int] | None = None,
        resblock_kernel_sizes: Sequence[int] = (3, 7, 11),
        resblock_dilation_sizes: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        source_resblock_kernel_sizes: Sequence[int] = (7, 11),
        source_resblock_dilation_sizes: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5)),
        lrelu_slope: float = 0.1,
        audio_limit: float = 0.99,
        f0_predictor: nn.Module | None = None,
    ) -> None:
        super().__init__()
        stft = istft_params or {"n_fft": 16, "hop_len": 4}
        self.n_fft, self.stft_hop = stft["n_fft"], stft["hop_len"]
        self.sampling_rate = sampling_rate
        self.nb_harmonics = nb_harmonics
        self.lrelu_slope, self.audio_limit = lrelu_slope, audio_limit
        self.n_upsamples, self.n_kernels = len(upsample_rates), len(resblock_kernel_sizes)
        self.hop_length = self.stft_hop
        for rate in upsample_rates:
            self.hop_length *= rate
        self.m_source = SourceModuleHnNSF(
            sampling_rate, self.hop_length, nb_harmonics, nsf_alpha, nsf_sigma, nsf_voiced_threshold
        )
        widths = [base_channels // 2 ** (i + 1) for i in range(self.n_upsamples)]
        self.conv_pre = WeightNormConv1d(in_channels, base_channels, 7, padding=3)
        self.ups = _upsamplings(base_channels, widths, upsample_rates, upsample_kernel_sizes)
        self.source_downs = _source_downs(self.n_fft + 2, widths, upsample_rates)
        self.source_resblocks = nn.ModuleList(
            ResBlock(width, kernel, dilations)
            for width, kernel, dilations in zip(
                widths, source_resblock_kernel_sizes, source_resblock_dilation_sizes, strict=True
            )
        )
        self.resblocks = nn.ModuleList(
            ResBlock(width, kernel, dilations)
            for width in widths
            for kernel, dilations in zip(
                resblock_kernel_sizes, resblock_dilation_sizes, strict=True
            )
        )
        self.conv_post = WeightNormConv1d(widths[-1], self.n_fft + 2, 7, padding=3)
        self.f0_predictor = f0_predictor
        self.reaches, self.context_frames = _reaches(self, upsample_rates)
        window = torch.hann_window(self.n_fft, periodic=True)
        self.register_buffer("stft_window", window, persistent=False)

    stft_window: Tensor

    def remove_weight_norm(self) -> None:
        """Fix all weights for inference; afterwards the official state dict no longer loads."""
        remove_weight_norm(self)

    @property
    def f0_context_frames(self) -> int:
        """Mel frames on each side that one f0 value depends on."""
        predictor = self.f0_predictor
        return predictor.context_frames if isinstance(predictor, ConvRNNF0Predictor) else 0

    def predict_f0(self, mel: Tensor) -> Tensor:
        """Predict f0 in Hz, (B, T), from a mel (B, C, T)."""
        if self.f0_predictor is None:
            raise RuntimeError("this HiFTGenerator was built without an f0_predictor")
        return self.f0_predictor(mel)

    def upsample_f0(self, f0: Tensor) -> Tensor:
        """Repeat f0 (B, T) for every sample, (B, 1, T * hop_length)."""
        return f0.repeat_interleave(self.hop_length, dim=1)[:, None]

    def source(
        self,
        f0: Tensor,
        draws: SourceDraws | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Make the excitation (B, 1, T * hop_length) from f0 (B, T).

        Args:
            f0: Hz a frame.
            draws: Phases and noise; drawn with `generator` if left out.
            generator: CPU random generator.
        """
        f0_samples = self.upsample_f0(f0)
        if draws is None:
            size = (f0_samples.shape[0], self.m_source.n_harmonics, f0_samples.shape[2])
            draws = draw_source(*size, generator=generator)
        return self.m_source(f0_samples, draws)

    def source_spectrum(self, source: Tensor) -> Tensor:
        """STFT of (B, 1, n): real, then imaginary, (B, n_fft + 2, n / stft_hop + 1)."""
        spectrum = torch.stft(
            source.squeeze(1), self.n_fft, self.stft_hop, self.n_fft, self.stft_window,
            return_complex=True,
        )  # fmt: skip
        return torch.cat([spectrum.real, spectrum.imag], dim=1)

    def decode(self, mel: Tensor, source: Tensor, kept: FrameSpan | None = None) -> Tensor:
        """Turn mel (B, C, T) and excitation (B, 1, T * hop_length) into (B, T * hop_length).

        Args:
            mel: Mel.
            source: Excitation.
            kept: Give the samples of these frames alone, exactly as they would be in the whole;
                each layer then computes no more than they depend on.
        """
        whole = FrameSpan(0, mel.shape[2])
        kept = kept or whole
        known, spectrum = whole, self.source_spectrum(source)
        x = self.conv_pre(mel)
        for index, reach in enumerate(self.reaches):
            wanted = kept.widened(reach.mel, whole)
            heard = wanted.widened(reach.source, whole)
            x = known.cut(self._upsample(x, index), wanted, reach.rate, reach.n_extra)
            part = whole.cut(spectrum, heard, self.hop_length // self.stft_hop, 1)
            excitation = self._excite(part, index)
            x = x + heard.cut(excitation, wanted, reach.rate, reach.n_extra)
            x, known = self._filter(x, index), wanted
        waveform = self.synthesise(self.conv_post(functional.leaky_relu(x, _LAST_SLOPE)))
        return known.cut(waveform, kept, self.hop_length)

    def spectrum_frames(self, mel: Tensor, source: Tensor) -> Tensor:
        """Log magnitudes and phases before the inverse STFT, (B, n_fft + 2, frames)."""
        source_spectrum = self.source_spectrum(source)
        x = self.conv_pre(mel)
        for index in range(self.n_upsamples):
            x = self._upsample(x, index) + self._excite(source_spectrum, index)
            x = self._filter(x, index)
        return self.conv_post(functional.leaky_relu(x, _LAST_SLOPE))

    def _upsample(self, x: Tensor, index: int) -> Tensor:
        """Bring the output of a stage to the rate of stage `index`."""
        x = self.ups[index](functional.leaky_relu(x, self.lrelu_slope))
        is_last = index == self.n_upsamples - 1
        return functional.pad(x, (1, 0), mode="reflect") if is_last else x  # as the STFT has

    def _excite(self, source_spectrum: Tensor, index: int) -> Tensor:
        """Bring the excitation's STFT to the rate of a stage."""
        return self.source_resblocks[index](self.source_downs[index](source_spectrum))

    def _filter(self, x: Tensor, index: int) -> Tensor:
        """Average the parallel blocks of a stage."""
        first = index * self.n_kernels
        total = self.resblocks[first](x)
        for block in self.resblocks[first + 1 : first + self.n_kernels]:
            total = total + block(x)
        return total / self.n_kernels

    def synthesise(self, frames: Tensor) -> Tensor:
        """Inverse STFT of `spectrum_frames`, clipped at `audio_limit`."""
        n_bins = self.n_fft // 2 + 1
        magnitude = torch.exp(frames[:, :n_bins]).clamp(max=_MAX_MAGNITUDE)
        phase = torch.sin(frames[:, n_bins:])  # the published model's phase lies in [-1, 1] rad
        spectrum = torch.complex(magnitude * torch.cos(phase), magnitude * torch.sin(phase))
        waveform = torch.istft(spectrum, self.n_fft, self.stft_hop, self.n_fft, self.stft_window)
        return waveform.clamp(-self.audio_limit, self.audio_limit)

    def forward(
        self,
        mel: Tensor,
        f0: Tensor | None = None,
        draws: SourceDraws | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Turn mel (B, C, T) into (B, T * hop_length); f0 (B, T) is predicted if left out."""
        pitch = self.predict_f0(mel) if f0 is None else f0
        return self.decode(mel, self.source(pitch, draws, generator))

    @torch.inference_mode()
    def inference(
        self,
        mel: Tensor,
        cache_source: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Turn a mel into speech; returns speech (B, T * hop_length) and its source (B, 1, same).

        `cache_source` (B, 1, n) is copied over the first n samples of the new source.
        """
        source = self.source(self.predict_f0(mel), generator=generator)
        if cache_source is not None and cache_source.shape[2] > 0:
            source[:, :, : cache_source.shape[2]] = cache_source
        return self.decode(mel, source), source


def _upsamplings(
    base: int, widths: list[int], rates: Sequence[int], kernels: Sequence[int]
) -> nn.ModuleList:
    """Transposed convolutions, each halving the width."""
    layers = nn.ModuleList()
    for in_width, width, rate, kernel in zip(
        [base, *widths[:-1]], widths, rates, kernels, strict=True
    ):
        layers.append(
            WeightNormConvTranspose1d(
                in_width, width, kernel, stride=rate, padding=(kernel - rate) // 2
            )
        )
    return layers


def _source_downs(channels: int, widths: list[int], rates: Sequence[int]) -> nn.ModuleList:
    """Convolutions that bring the source's STFT to the rate of each upsampling."""
    layers = nn.ModuleList()
    for index, width in enumerate(widths):
        stride = 1
        for rate in rates[index + 1 :]:
            stride *= rate
        if stride == 1:
            layers.append(nn.Conv1d(channels, width, 1))
        else:
            layers.append(nn.Conv1d(channels, width, 2 * stride, stride, padding=stride // 2))
    return layers


def _reaches(model: HiFTGenerator, rates: Sequence[int]) -> tuple[tuple[StageReach, ...], int]:
    """Follow what a sample depends on from the inverse STFT back to the mel.

    Returns:
        The reach of each stage, and mel frames on each side in all.
    """
    step, hop = model.stft_hop, model.hop_length  # step: samples a column of the current stage
    reach = model.n_fft // 2 + 3 * step
    found, furthest = [], 0
    for stage in reversed(range(model.n_upsamples)):
        blocks = model.resblocks[stage * model.n_kernels : (stage + 1) * model.n_kernels]
        reach += (1 + max(_reach(block) for block in blocks)) * step  # 1: the reflected column
        source = (_reach(model.source_resblocks[stage]) + 2) * step + model.n_fft
        n_extra = int(stage == model.n_upsamples - 1)
        frames = (math.ceil(each / hop) for each in (reach, source))
        found.append(StageReach(hop // step, n_extra, *frames))
        furthest = max(furthest, reach + source)
        step *= rates[stage]
        reach += step
    return tuple(reversed(found)), math.ceil(max(reach + 3 * step, furthest) / hop)


def _reach(block: nn.Module) -> int:
    """Steps on each side that an output of a ResBlock depends on."""
    if not isinstance(block, ResBlock):
        raise TypeError(f"expected a ResBlock, got {type(block).__name__}")
    return block.reach
