"""Attention of all rows at once: equal to the exact one, and choices that do not fit refused."""

import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor

from antiphon.engine.attention import KEY_BLOCK, Heads, attend, find_spans
from antiphon.engine.device_attention import (
    DeviceAttention,
    FlashAttention,
    SdpaAttention,
    choose_attention,
)
from antiphon.errors import ConfigError

CPU, OTHER = torch.device("cpu"), torch.device("meta")
HALF = Heads(2, 3, 16, torch.bfloat16)
SIZES = [(2, 2, 64), (2, 3, 16), (1, 16, 128), (2, 1, 8)]


def flash_with_kvcache(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    *,
    cache_seqlens: Tensor,
    cache_batch_idx: Tensor,
    causal: bool,
) -> Tensor:
    """Do what flash-attn's documentation says of its function of this name, row by row.

    q (B, T, H, D); caches (slots, capacity, K, D); the last T keys of a row are those of q.
    """
    assert causal
    assert cache_seqlens.dtype == cache_batch_idx.dtype == torch.int32
    assert k_cache.stride(-1) == v_cache.stride(-1) == 1
    rows = []
    for row, (slot, end) in enumerate(
        zip(cache_batch_idx.tolist(), cache_seqlens.tolist(), strict=True)
    ):
        group = q.shape[2] // k_cache.shape[2]
        keys, values = (c[slot, :end].repeat_interleave(group, 1) for c in (k_cache, v_cache))
        scores = torch.einsum("thd,shd->hts", q[row], keys) * q.shape[-1] ** -0.5
        length = q.shape[1]
        hidden = torch.ones(length, end).triu(end - length + 1).bool()
        weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
        rows.append(torch.einsum("hts,shd->thd", weights, values))
    return torch.stack(rows)


def fake_flash() -> ModuleType:
    module = ModuleType("flash_attn")
    module.flash_attn_with_kvcache = flash_with_kvcache  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize("kind", ["sdpa", "flash"])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("length", [1, 3, 64])
def test_all_rows_at_once_give_what_they_give_one_by_one(
    kind: str, sizes: tuple[int, int, int], length: int
) -> None:
    heads = Heads(*sizes, torch.float32)
    generator = torch.Generator().manual_seed(length)
    capacity = 3 * KEY_BLOCK
    states = torch.randn(2, 5, heads.n_key_heads, capacity, heads.size, generator=generator)
    n_heads = heads.n_key_heads * heads.group_size
    queries = torch.randn(4, length, n_heads, heads.size, generator=generator)
    starts, slots = (30, 700, KEY_BLOCK - length, 0), (1, 2, 0, 4)
    ends = [start + length for start in starts]
    positions = torch.stack(
        [torch.arange(start, end) for start, end in zip(starts, ends, strict=True)]
    )
    attention: DeviceAttention = SdpaAttention(heads)
    if kind == "flash":
        attention = FlashAttention(heads, fake_flash())
    look = attention.prepare(torch.tensor(slots), positions, capacity)
    expected = attend(queries, states, find_spans(slots, ends, positions, heads))
    torch.testing.assert_close(look(queries, states), expected, atol=1e-5, rtol=1e-5)


def test_a_cpu_computes_exactly_unless_told_otherwise() -> None:
    assert choose_attention("auto", HALF, CPU) is None
    assert choose_attention("exact", HALF, CPU) is None
    assert isinstance(choose_attention("sdpa", HALF, CPU), SdpaAttention)


def test_an_accelerator_takes_flash_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    assert isinstance(choose_attention("auto", HALF, OTHER), SdpaAttention)
    monkeypatch.setitem(sys.modules, "flash_attn", fake_flash())
    assert isinstance(choose_attention("auto", HALF, OTHER), FlashAttention)
    assert isinstance(choose_attention("flash", HALF, OTHER), FlashAttention)
    assert isinstance(choose_attention("sdpa", HALF, OTHER), SdpaAttention)
    full = replace(HALF, dtype=torch.float32)
    assert isinstance(choose_attention("auto", full, OTHER), SdpaAttention)


@pytest.mark.parametrize(
    ("name", "heads", "device", "words"),
    [
        ("fast", HALF, CPU, "unknown attention 'fast'; choose one of auto, exact, sdpa, flash"),
        ("exact", HALF, OTHER, "exact is for CPUs"),
        ("flash", HALF, CPU, "flash needs a CUDA device"),
        ("flash", replace(HALF, dtype=torch.float32), OTHER, "the model in torch.float32"),
        ("flash", replace(HALF, size=260), OTHER, "these have 260"),
        ("flash", HALF, OTHER, "needs the package flash-attn"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(
    name: str, heads: Heads, device: torch.device, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    with pytest.raises(ConfigError, match=words):
        choose_attention(name, heads, device)
