"""WhisperVQEncoder: masks, causality, pooling and training, on small random models."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from antiphon.errors import AudioError
from speech_tokenizer.block_state import BlockState
from speech_tokenizer.configuration_whisper import WhisperVQConfig
from speech_tokenizer.modeling_whisper import (
    SelfAttention,
    WhisperVQEncoder,
    attention_pattern,
    pool_frames,
)

BLOCK = 16


@pytest.fixture
def encoder() -> WhisperVQEncoder:
    torch.manual_seed(0)
    config = WhisperVQConfig(
        d_model=32,
        encoder_attention_heads=4,
        encoder_ffn_dim=48,
        num_mel_bins=20,
        max_source_positions=100,
        pooling_position=2,
        quantize_position=2,
        quantize_vocab_size=16,
        quantize_causal_block_size=BLOCK,
    )
    return WhisperVQEncoder(config).eval()


def features(batch: int, n_frames: int, seed: int = 0) -> Tensor:
    return torch.randn(batch, 20, n_frames, generator=torch.Generator().manual_seed(seed))


@given(
    st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=3),
    st.sampled_from([None, 1, 2, 3, 100]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_pattern_follows_its_definition(
    rows: list[list[bool]], block_size: int | None, is_causal: bool
) -> None:
    found = attention_pattern(torch.tensor(rows), block_size, is_causal)
    for number, row in enumerate(rows):
        for query in range(7):
            expected = []
            for key in range(7):
                same_block = block_size is None or query // block_size == key // block_size
                expected.append(row[key] and (key <= query or (same_block and not is_causal)))
            assert found[number, 0, query].tolist() == (expected if any(expected) else [True] * 7)


def test_attention_is_softmax_of_scaled_products() -> None:
    torch.manual_seed(1)
    attention = SelfAttention(8, 2).eval()
    hidden = torch.randn(1, 5, 8)
    mask = attention_pattern(torch.ones(1, 5, dtype=torch.bool), None, is_causal=True)
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        query, key, value = (
            projection(hidden)[0, :, part]
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        scores = (query @ key.T / math.sqrt(4)).masked_fill(~mask[0, 0], -math.inf)
        heads.append(scores.softmax(dim=-1) @ value)
    torch.testing.assert_close(attention(hidden, mask)[0], attention.out_proj(torch.cat(heads, -1)))


def test_pooling_averages_and_fills_with_zeros() -> None:
    hidden = torch.arange(1.0, 7.0).reshape(1, 6, 1)
    assert pool_frames(hidden, 4).flatten().tolist() == [2.5, (5 + 6) / 4]


@pytest.mark.parametrize("n_frames", [1, 2, 7, 8, 10, 199, 200])
def test_one_token_for_eight_frames(encoder: WhisperVQEncoder, n_frames: int) -> None:
    output = encoder(features(2, n_frames))
    n_tokens = -(-n_frames // 8)
    assert output.quantized_token_ids.shape == (2, n_tokens)
    assert output.hidden_before_vq.shape == (2, n_tokens, 32)
    assert output.after_conv2.shape == (2, 32, -(-n_frames // 2))
    assert output.token_mask.all()


def test_future_beyond_the_block_is_not_seen(encoder: WhisperVQEncoder) -> None:
    before = features(1, 120)
    after = before.clone()
    after[:, :, 2 * 2 * BLOCK :] = features(1, 120, seed=1)[:, :, 2 * 2 * BLOCK :]
    first, _ = encoder.hidden_before_vq(before)
    second, _ = encoder.hidden_before_vq(after)
    n_same = 2 * BLOCK // 4
    torch.testing.assert_close(first[:, :n_same], second[:, :n_same])
    assert (first[:, n_same] - second[:, n_same]).abs().max() > 1e-3


def test_future_inside_the_block_is_seen(encoder: WhisperVQEncoder) -> None:
    before = features(1, 2 * BLOCK)
    after = before.clone()
    after[:, :, -2:] += 1.0
    first, _ = encoder.hidden_before_vq(before)
    second, _ = encoder.hidden_before_vq(after)
    assert (first[:, 0] - second[:, 0]).abs().max() > 1e-4


@pytest.mark.parametrize("n_layers_after_pooling", [0, 2])
@pytest.mark.parametrize("n_frames", [8, 32, 40, 104, 200])
def test_block_by_block_is_all_at_once(n_frames: int, n_layers_after_pooling: int) -> None:
    torch.manual_seed(1)
    config = WhisperVQConfig(
        d_model=32,
        encoder_attention_heads=4,
        encoder_ffn_dim=48,
        num_mel_bins=20,
        max_source_positions=100,
        pooling_position=2,
        quantize_position=2 + n_layers_after_pooling,
        quantize_vocab_size=16,
        quantize_causal_block_size=BLOCK,
    )
    encoder = WhisperVQEncoder(config).eval()
    given, mask = features(2, n_frames), torch.ones(2, n_frames)
    mask[1, -5:] = 0
    state = BlockState.start(len(encoder.layers))
    with torch.no_grad():
        whole, _ = encoder.hidden_before_vq(given, mask)
        blocks = zip(given.split(2 * BLOCK, dim=2), mask.split(2 * BLOCK, dim=1), strict=True)
        found = [encoder.hidden_of_block(part, part_mask, state) for part, part_mask in blocks]
    assert state.n_frames == n_frames // 2
    torch.testing.assert_close(torch.cat(found, dim=1), whole, atol=1e-5, rtol=1e-5)


def test_a_copied_state_goes_its_own_way(encoder: WhisperVQEncoder) -> None:
    first, second, other = features(1, 96).split(2 * BLOCK, dim=2)
    mask, state = torch.ones(1, 2 * BLOCK), BlockState.start(2)
    with torch.no_grad():
        encoder.hidden_of_block(first, mask, state)
        expected = encoder.hidden_of_block(second, mask, state.copy())
        encoder.hidden_of_block(other, mask, state.copy())
        assert torch.equal(encoder.hidden_of_block(second, mask, state), expected)


def test_padding_does_not_change_a_row(encoder: WhisperVQEncoder) -> None:
    batch = features(2, 96)
    mask = torch.ones(2, 96, dtype=torch.int32)
    mask[1, 40:] = 0
    padded, real = encoder.hidden_before_vq(batch, mask)
    alone, _ = encoder.hidden_before_vq(batch[1:, :, :40], mask[1:, :40])
    assert real.sum(dim=1).tolist() == [12, 5]
    torch.testing.assert_close(padded[1, :5], alone[0])


def test_a_row_of_padding_alone_stays_finite(encoder: WhisperVQEncoder) -> None:
    hidden, real = encoder.hidden_before_vq(features(1, 16), torch.zeros(1, 16))
    assert torch.isfinite(hidden).all()
    assert not real.any()


def test_last_hidden_state_is_the_code_at_its_position(encoder: WhisperVQEncoder) -> None:
    output = encoder(features(1, 24))
    codes = encoder.codebook.weight[output.quantized_token_ids[0]]
    torch.testing.assert_close(
        output.last_hidden_state[0], codes + encoder.embed_positions2.weight[:3]
    )


def test_layers_after_the_pooling_run_at_the_token_rate() -> None:
    config = WhisperVQConfig(
        d_model=16,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        num_mel_bins=20,
        pooling_position=1,
        quantize_position=3,
        quantize_vocab_size=4,
        quantize_causal_block_size=8,
    )
    encoder = WhisperVQEncoder(config).eval()
    before = features(1, 96)
    after = before.clone()
    after[:, :, 64:] = 0.0
    first, _ = encoder.hidden_before_vq(before)
    second, _ = encoder.hidden_before_vq(after)
    assert first.shape == (1, 12, 16)
    torch.testing.assert_close(first[:, :8], second[:, :8])


def test_too_long_a_segment_is_refused(encoder: WhisperVQEncoder) -> None:
    with pytest.raises(AudioError, match="at most 200"):
        encoder(features(1, 201))


def test_trains_under_autocast(encoder: WhisperVQEncoder) -> None:
    encoder.train()
    with torch.autocast("cpu", torch.bfloat16):
        hidden, real = encoder.hidden_before_vq(features(2, 64))
        quantizer = encoder.quantizer
        ids = quantizer.nearest(hidden)
        quantized = quantizer.straight_through(hidden, ids)
        loss = quantized.float().square().mean() + quantizer.commitment_loss(hidden, ids)
    loss.backward()
    missing = {name for name, value in encoder.named_parameters() if value.grad is None}
    assert missing == {"codebook.weight", "embed_positions2.weight"}
    quantizer.update(hidden[real], ids[real], 0.9)
    assert torch.equal(encoder.codebook.weight, quantizer.codebook)


def test_statistics_belong_to_the_encoder(encoder: WhisperVQEncoder) -> None:
    encoder.quantizer.set_codes(torch.full((16, 32), 2.0))
    state = encoder.state_dict()
    assert torch.all(state["codebook.weight"] == 2) and torch.all(state["ema_weight"] == 2)
