"""WhisperVQEncoder: log-mel features to speech tokens, under the official state-dict keys.

Convolution stem, pre-norm attention layers, average pooling, nearest code. Knows nothing of files
or waveforms. Sources: GLM-4-Voice report (arXiv 2412.02612), section 3.1; Radford et al.,
"Robust Speech Recognition via Large-Scale Weak Supervision" (arXiv 2212.04356), section 2.2.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.errors import AudioError
from speech_tokenizer.block_state import BlockState, KeyValues
from speech_tokenizer.configuration_whisper import CONV_STRIDE, WhisperVQConfig
from speech_tokenizer.quantizer import VectorQuantizer

STEM_CONTEXT = 4  # feature frames before its own that a token depends on, through two convolutions


@dataclass(frozen=True)
class WhisperVQOutput:
    """What the encoder computed for a batch; T tokens, d the width.

    Attributes:
        quantized_token_ids: (B, T) int64.
        last_hidden_state: Code vector plus its learned position, (B, T, d).
        hidden_before_vq: What was quantized, (B, T, d).
        token_mask: (B, T) bool, False where a token stands for padding alone.
        after_conv2: Output of the convolution stem, (B, d, n_frames).
    """

    quantized_token_ids: Tensor
    last_hidden_state: Tensor
    hidden_before_vq: Tensor
    token_mask: Tensor
    after_conv2: Tensor


class CausalConv1d(nn.Conv1d):
    """A convolution over (B, C, T) that sees no future; `is_causal=False` pads both sides."""

    def __init__(
        self, n_in: int, n_out: int, kernel_size: int, stride: int = 1, is_causal: bool = True
    ) -> None:
        super().__init__(n_in, n_out, kernel_size, stride=stride)
        side = kernel_size // 2
        self._margins = (kernel_size - 1, 0) if is_causal else (side, side)

    def forward(self, input: Tensor, has_past: bool = False) -> Tensor:
        """Convolve (B, n_in, T) into (B, n_out, ceil(T / stride)).

        With `has_past` the first kernel_size - 1 columns of `input` are the past of the others, and
        nothing is padded.
        """
        return super().forward(input if has_past else functional.pad(input, self._margins))


class SelfAttention(nn.Module):
    """Multi-head self-attention over (B, T, d); keys carry no bias, as in Whisper."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor, mask: Tensor, past: KeyValues | None = None) -> Tensor:
        """Attend within (B, T, d) where `mask` (B, 1, T, T) bool is True, and to all of `past`.

        Keys and values of `hidden` join `past`.
        """
        query, key, value = (
            projection(hidden).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, H, T, d / H)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if past is not None:
            key, value = past.extend(key, value)
            mask = functional.pad(mask, (key.shape[2] - mask.shape[3], 0), value=True)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out_proj(attended.transpose(1, 2).flatten(2))  # (B, T, d)


class EncoderLayer(nn.Module):
    """One pre-norm layer of Whisper's encoder over (B, T, d)."""

    def __init__(self, config: WhisperVQConfig) -> None:
        super().__init__()
        width = config.d_model
        self.self_attn = SelfAttention(width, config.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, config.encoder_ffn_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_dim, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, hidden: Tensor, mask: Tensor, past: KeyValues | None = None) -> Tensor:
        """Transform (B, T, d) into (B, T, d); see the attention for `mask` and `past`."""
        hidden = hidden + self.self_attn(self.self_attn_layer_norm(hidden), mask, past)
        return hidden + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(hidden))))


class WhisperVQEncoder(nn.Module):
    """Speech tokenizer network; only the layers before the quantization exist.

    Raises:
        AudioError: On input longer than `max_source_positions`.
    """

    ema_count: Tensor
    ema_weight: Tensor

    def __init__(self, config: WhisperVQConfig) -> None:
        super().__init__()
        self.config = config
        width, n_codes = config.d_model, config.quantize_vocab_size
        causal = config.encoder_causal_convolution
        self.register_buffer("ema_count", torch.ones(n_codes))
        self.register_buffer("ema_weight", torch.zeros(n_codes, width))
        self.conv1 = CausalConv1d(config.num_mel_bins, width, 3, is_causal=causal)
        self.conv2 = CausalConv1d(width, width, 3, stride=CONV_STRIDE, is_causal=causal)
        self.embed_positions = nn.Embedding(config.max_source_positions, width)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.quantize_position))
        self.codebook = nn.Embedding(n_codes, width)
        self.embed_positions2 = nn.Embedding(config.max_tokens, width)
        self._initialise_tables()

    @torch.no_grad()
    def _initialise_tables(self) -> None:
        """Start positions as sinusoids and the averages at the codes; codes take no gradient."""
        for table in (self.embed_positions, self.embed_positions2):
            table.weight.copy_(sinusoids(*table.weight.shape))
        self.codebook.weight.requires_grad_(False)
        self.ema_weight.copy_(self.codebook.weight)

    @property
    def quantizer(self) -> VectorQuantizer:
        """A view of this model's codes and statistics; training through it changes the model."""
        return VectorQuantizer(self.codebook.weight, self.ema_count, self.ema_weight)

    def hidden_before_vq(
        self, input_features: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode features up to the quantization; differentiable.

        Args:
            input_features: Log-mel features, (B, n_mels, T) at 100 Hz.
            attention_mask: (B, T), non-zero where a frame is real; None if all are.

        Returns:
            Hidden states (B, ceil(T / 8), d) and the mask of real tokens (B, ceil(T / 8)) bool.
        """
        return self._encode(self.stem(input_features), attention_mask)

    def forward(
        self, input_features: Tensor, attention_mask: Tensor | None = None
    ) -> WhisperVQOutput:
        """Turn log-mel features (B, n_mels, T) into tokens; arguments as in `hidden_before_vq`."""
        after_conv2 = self.stem(input_features)
        hidden, token_mask = self._encode(after_conv2, attention_mask)
        ids = self.quantizer.nearest(hidden)
        positions = self.embed_positions2.weight[: ids.shape[1]]
        last_hidden_state = self.codebook(ids) + positions
        return WhisperVQOutput(ids, last_hidden_state, hidden, token_mask, after_conv2)

    def hidden_of_block(
        self, input_features: Tensor, attention_mask: Tensor, state: BlockState
    ) -> Tensor:
        """Encode one block up to the quantization, with what is kept of the blocks before.

        Args:
            input_features: Log-mel features, (B, n_mels, T): of `config.block_tokens` tokens, or
                fewer in the last block of a segment.
            attention_mask: (B, T), non-zero where a frame is real.
            state: What is kept of the blocks before; takes this block in.

        Returns:
            (B, ceil(T / 8), d), what `hidden_before_vq` gives for this part of the segment.
        """
        hidden, _ = self._encode(self._next_stem(input_features, state), attention_mask, state)
        state.n_frames += input_features.shape[-1] // CONV_STRIDE
        state.features = input_features[..., -STEM_CONTEXT:]
        return hidden

    def _next_stem(self, input_features: Tensor, state: BlockState) -> Tensor:
        """Run both convolutions on the block (B, n_mels, T) that comes after `state`."""
        past = state.features
        if past is None:
            return self.stem(input_features)
        joined = torch.cat([past, input_features], dim=-1).to(self.conv1.weight.dtype)
        hidden = functional.gelu(self.conv1(joined, has_past=True))
        return functional.gelu(self.conv2(hidden, has_past=True))

    def stem(self, input_features: Tensor) -> Tensor:
        """Run both convolutions: (B, n_mels, T) at 100 Hz -> (B, d, ceil(T / 2)) at 50 Hz."""
        limit = self.config.max_source_positions * CONV_STRIDE
        if input_features.shape[-1] > limit:
            raise AudioError(
                f"{input_features.shape[-1]} feature frames in one segment; at most {limit} fit: "
                "cut the audio into segments first"
            )
        dtype = self.conv1.weight.dtype
        hidden = functional.gelu(self.conv1(input_features.to(dtype)))
        return functional.gelu(self.conv2(hidden))

    def _encode(
        self, stem: Tensor, attention_mask: Tensor | None, state: BlockState | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run layers and pooling over the stem's output (B, d, F), which comes after `state`."""
        config = self.config
        hidden = stem.transpose(1, 2)  # (B, F, d)
        first = 0 if state is None else state.n_frames
        hidden = hidden + self.embed_positions.weight[first : first + hidden.shape[1]]
        is_real = _frames_of_mask(attention_mask, hidden)
        block_size = config.quantize_causal_block_size
        mask = attention_pattern(is_real, block_size, config.encoder_causal_attention)
        for number, layer in enumerate(self.layers, start=1):
            hidden = layer(hidden, mask, None if state is None else state.layers[number - 1])
            if number == config.pooling_position:
                hidden = pool_frames(hidden, config.pooling_kernel_size)
                is_real = is_real[:, :: config.pooling_kernel_size]
                if number < len(self.layers):
                    block_size = block_size and max(block_size // config.pooling_kernel_size, 1)
                    mask = attention_pattern(is_real, block_size, config.encoder_causal_attention)
        return hidden, is_real


def _frames_of_mask(attention_mask: Tensor | None, hidden: Tensor) -> Tensor:
    """Return the real frames of (B, F, d) as (B, F) bool, from a (B, T) mask at twice the rate."""
    if attention_mask is None:
        return torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
    return attention_mask[:, ::CONV_STRIDE].bool()


def pool_frames(hidden: Tensor, kernel_size: int) -> Tensor:
    """Average groups of frames, zeros filling up: (B, F, d) -> (B, ceil(F / kernel_size), d)."""
    missing = -hidden.shape[1] % kernel_size
    if missing:
        hidden = functional.pad(hidden, (0, 0, 0, missing))
    return torch.unflatten(hidden, 1, (-1, kernel_size)).mean(dim=2)  # (B, T, kernel, d) before


def attention_pattern(is_real: Tensor, block_size: int | None, is_causal: bool) -> Tensor:
    """Build which frame sees which: earlier ones, those of its own block, and never padding.

    Args:
        is_real: (B, F) bool, False for padding.
        block_size: Frames that see each other; None with `is_causal=False` lets all see all.
        is_causal: Drop the blocks and see the past only.

    Returns:
        (B, 1, F, F) bool, True where the query (third axis) sees the key (last axis). A query that
        would see nothing at all sees everything, so that no value becomes undefined.
    """
    position = torch.arange(is_real.shape[1], device=is_real.device)
    query, key = position[:, None], position[None, :]
    if is_causal:
        seen = key <= query
    elif block_size is None:
        seen = torch.ones_like(key <= query)
    else:
        seen = (key <= query) | (key // block_size == query // block_size)
    pattern = seen & is_real[:, None, None, :]
    return pattern | ~pattern.any(dim=-1, keepdim=True)


def sinusoids(n_positions: int, width: int) -> Tensor:
    """Whisper's position table (n_positions, width): sines, then cosines of growing wavelength."""
    half = width // 2
    step = math.log(10_000.0) / max(half - 1, 1)
    angles = torch.arange(n_positions)[:, None] * torch.exp(-step * torch.arange(half))[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
