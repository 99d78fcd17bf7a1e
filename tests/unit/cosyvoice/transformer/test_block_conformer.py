"""Attention with relative positions and blocks, against slow formulas."""

import math

import pytest
import torch

from antiphon.errors import ConfigError
from cosyvoice.transformer.attention import RelPositionMultiHeadedAttention, shift_distances
from cosyvoice.transformer.embedding import EspnetRelPositionalEncoding
from cosyvoice.transformer.encoder import BlockConformerEncoder
from cosyvoice.utils.mask import block_causal_mask, make_pad_mask


def test_pad_mask() -> None:
    expected = [[False, True, True], [False, False, False]]
    assert make_pad_mask(torch.tensor([1, 3])).tolist() == expected
    assert make_pad_mask(torch.tensor([1]), 2).tolist() == [[False, True]]


def test_block_mask() -> None:
    mask = block_causal_mask(5, 2, torch.device("cpu"))
    expected = [[j < min(5, (i // 2 + 1) * 2) for j in range(5)] for i in range(5)]
    assert mask.tolist() == expected


@pytest.mark.parametrize("n_frames", [1, 2, 5])
def test_shift_puts_each_distance_at_its_key(n_frames: int) -> None:
    distances = torch.arange(n_frames - 1, -n_frames, -1.0).expand(1, 1, n_frames, -1)
    index = torch.arange(n_frames)
    expected = (index.unsqueeze(1) - index).float()
    assert torch.equal(shift_distances(distances)[0, 0], expected)


def test_positions_are_sines_of_the_distance() -> None:
    encoding = EspnetRelPositionalEncoding(6, 0.0).position_encoding(4, torch.device("cpu"))
    assert encoding.shape == (1, 7, 6)
    for row, distance in enumerate([3, 2, 1, 0, -1, -2, -3]):
        angles = [distance / 10000 ** (2 * k / 6) for k in range(3)]
        expected = [f(angle) for angle in angles for f in (math.sin, math.cos)]
        assert torch.allclose(encoding[0, row], torch.tensor(expected), atol=1e-6)


@torch.no_grad()
def test_attention_is_its_formula() -> None:
    generator = torch.Generator().manual_seed(1)
    attention = RelPositionMultiHeadedAttention(2, 8, 0.0).eval()
    x = torch.randn(1, 5, 8, generator=generator)
    positions = EspnetRelPositionalEncoding(8, 0.0).position_encoding(5, x.device)
    visible = block_causal_mask(5, 2, x.device)
    q, k, v = (
        layer(x[0]).view(5, 2, 4)
        for layer in (attention.linear_q, attention.linear_k, attention.linear_v)
    )
    p = attention.linear_pos(positions[0]).view(9, 2, 4)
    rows = []
    for i in range(5):
        heads = []
        for h in range(2):
            scores = [
                (q[i, h] + attention.pos_bias_u[h]) @ k[j, h]
                + (q[i, h] + attention.pos_bias_v[h]) @ p[4 - (i - j), h]
                for j in range(5)
                if visible[i, j]
            ]
            weights = torch.softmax(torch.stack(scores) / 2.0, 0)
            heads.append(weights @ v[: len(scores), h])
        rows.append(torch.cat(heads))
    expected = attention.linear_out(torch.stack(rows))
    assert torch.allclose(attention(x, visible[None, None], positions)[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("macaron_style", True),
        ("use_cnn_module", True),
        ("normalize_before", False),
        ("input_layer", "conv2d"),
        ("pos_enc_layer_type", "abs_pos"),
        ("selfattention_layer_type", "selfattn"),
        ("activation_type", "relu"),
    ],
)
def test_options_that_are_not_here_are_refused(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=option):
        BlockConformerEncoder(8, 8, 2, 8, 1, **{option: value})  # type: ignore[arg-type]


def test_width_must_fit_the_heads() -> None:
    with pytest.raises(ConfigError, match="output_size 9"):
        BlockConformerEncoder(8, 9, 2, 8, 1)
