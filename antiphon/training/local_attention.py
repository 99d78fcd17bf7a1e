"""Starts an encoder's attention heads as looks at places nearby, which speech needs first.

A head's keys take the sines and cosines of its own place, its queries those of a place some frames
away: their product is largest there. Training may change it all. Knows no data.
"""

import torch

from speech_tokenizer.modeling_whisper import SelfAttention, WhisperVQEncoder

FAST_STEPS = (1, 1, 2, 3)  # frames of 20 ms by layer; later layers go on with the last
SLOW_STEPS = (4, 4, 8, 8)  # of pooled layers, in the same frames
FAST_SHARES, SLOW_SHARES = (-2, -1, 1, 2), (-1, 1, -2, 0)  # by head, in steps
FIRST_SLOW_PAIR = 12  # pooled places have lost the quicker waves
DAMPING = 0.5  # of the random weights below what is added


def head_offsets(n_layers: int, n_fast: int, n_heads: int) -> list[list[int]]:
    """Say how many frames of 20 ms each head looks ahead (or back, below zero), layer by layer."""
    offsets = []
    for number in range(n_layers):
        is_fast = number < n_fast
        steps, shares = (FAST_STEPS, FAST_SHARES) if is_fast else (SLOW_STEPS, SLOW_SHARES)
        step = steps[min(number if is_fast else number - n_fast, len(steps) - 1)]
        offsets.append([step * shares[head % len(shares)] for head in range(n_heads)])
    return offsets


@torch.no_grad()
def look_nearby(encoder: WhisperVQEncoder, strength: float) -> None:
    """Add to each head's query and key matrices what makes it look at one offset.

    That holds for places alone. What a layer adds to them matches itself best, so that in later
    layers of a fresh encoder much of a look stays at its own place.

    Args:
        encoder: Freshly initialised, with sinusoidal positions.
        strength: Added weight; the larger, the sharper the look.
    """
    config = encoder.config
    n_fast = config.pooling_position
    by_layer = head_offsets(len(encoder.layers), n_fast, config.encoder_attention_heads)
    for number, (layer, offsets) in enumerate(zip(encoder.layers, by_layer, strict=True)):
        attention = layer.self_attn
        assert isinstance(attention, SelfAttention)
        add_offsets(attention, offsets, 0 if number < n_fast else FIRST_SLOW_PAIR, strength)


def add_offsets(
    attention: SelfAttention, offsets: list[int], first_pair: int, strength: float
) -> None:
    """Let each head look `offsets` frames away, by waves from `first_pair` (0 is the quickest).

    The states are (B, T, d) with sines of the place in their first half, cosines in the second.
    """
    query, key = attention.q_proj.weight, attention.k_proj.weight  # (d, d), a head's rows in a row
    query.mul_(DAMPING)
    key.mul_(DAMPING)
    width = len(key)
    half, head_width = width // 2, width // attention.n_heads
    rows = torch.arange(0, head_width - 1, 2)
    pairs = (first_pair + torch.arange(len(rows))).clamp(max=half - 1)
    waves = 10_000.0 ** (-pairs / max(half - 1, 1))  # radians a frame, as in Whisper's table
    for head, offset in enumerate(offsets):
        sines, cosines = head * head_width + rows, head * head_width + rows + 1
        key[sines, pairs] += strength
        key[cosines, half + pairs] += strength
        # sin w(t + o) and cos w(t + o) out of sin wt and cos wt
        along, across = strength * (waves * offset).cos(), strength * (waves * offset).sin()
        query[sines, pairs] += along
        query[sines, half + pairs] += across
        query[cosines, half + pairs] += along
        query[cosines, pairs] -= across
