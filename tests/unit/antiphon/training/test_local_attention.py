"""Heads that begin by looking at one place nearby, before and after the pooling."""

import pytest
import torch
from torch import Tensor

from antiphon.training.local_attention import head_offsets, look_nearby
from speech_tokenizer.configuration_whisper import WhisperVQConfig
from speech_tokenizer.modeling_whisper import SelfAttention, WhisperVQEncoder, pool_frames

N_FAST, N_LAYERS, N_HEADS = 2, 4, 4
N_FRAMES = 160
EDGE = 24  # a place so near the ends may not have the one it looks for


def build_encoder(d_model: int, n_heads: int, n_fast: int, n_layers: int) -> WhisperVQEncoder:
    torch.manual_seed(3)
    config = WhisperVQConfig(
        d_model=d_model,
        encoder_attention_heads=n_heads,
        encoder_ffn_dim=32,
        num_mel_bins=20,
        pooling_position=n_fast,
        quantize_position=n_layers,
        quantize_vocab_size=8,
    )
    return WhisperVQEncoder(config)


@pytest.fixture(scope="module")
def encoder() -> WhisperVQEncoder:
    encoder = build_encoder(192, N_HEADS, N_FAST, N_LAYERS)
    look_nearby(encoder, 2.0)
    return encoder


def states(encoder: WhisperVQEncoder, is_fast: bool) -> Tensor:
    """Positions alone, (1, T, d), normalised as a layer does."""
    hidden = encoder.embed_positions.weight[:N_FRAMES][None]
    return encoder.layers[0].self_attn_layer_norm(hidden if is_fast else pool_frames(hidden, 4))


def scores(attention: SelfAttention, hidden: Tensor) -> Tensor:
    """Attention of each head before the softmax, (H, T, T)."""
    query, key = (
        projection(hidden)[0].unflatten(-1, (attention.n_heads, -1)).transpose(0, 1)
        for projection in (attention.q_proj, attention.k_proj)
    )
    return query @ key.transpose(1, 2) * query.shape[-1] ** -0.5


@pytest.mark.parametrize("number", range(N_LAYERS))
@torch.no_grad()
def test_every_head_looks_at_its_offset(encoder: WhisperVQEncoder, number: int) -> None:
    is_fast = number < N_FAST
    rate = 1 if is_fast else 4  # frames a place
    attention = encoder.layers[number].self_attn
    shares = scores(attention, states(encoder, is_fast)).softmax(-1)
    for head, offset in enumerate(head_offsets(N_LAYERS, N_FAST, N_HEADS)[number]):
        edge, n_places = EDGE // rate, N_FRAMES // rate
        places = torch.arange(edge, n_places - edge)
        looks = shares[head, places].argmax(-1) - places
        assert (looks == offset // rate).all(), head
        assert shares[head, places, places + offset // rate].mean() > 0.9, head


@torch.no_grad()
def test_without_it_they_look_anywhere() -> None:
    encoder = build_encoder(192, N_HEADS, N_FAST, N_LAYERS)
    shares = scores(encoder.layers[0].self_attn, states(encoder, is_fast=True)).softmax(-1)
    looks = shares.argmax(-1) - torch.arange(N_FRAMES)
    assert all((row == row.mode().values).float().mean() < 0.5 for row in looks)


def test_heads_and_layers_share_the_work() -> None:
    offsets = head_offsets(7, 3, 5)
    assert offsets[0] == [-2, -1, 1, 2, -2]
    assert offsets[2] == [-4, -2, 2, 4, -4]
    assert offsets[3] == [-4, 4, -8, 0, -4]
    assert offsets[6] == [-8, 8, -16, 0, -8]
    assert all(offset % 4 == 0 for layer in offsets[3:] for offset in layer)


def test_narrow_heads_are_taken() -> None:
    encoder = build_encoder(12, 2, 1, 2)
    look_nearby(encoder, 1.0)
    hidden, _ = encoder.hidden_before_vq(torch.randn(1, 20, 64))
    assert hidden.isfinite().all()
