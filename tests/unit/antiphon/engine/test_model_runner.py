"""The batched forward pass against transformers' own, and against itself in other batches."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import GlmForCausalLM

from antiphon.engine.model_runner import ModelRunner, Row
from tests.programs import needs_mkl
from tests.tiny_glm import CONTEXT_LENGTH, VOCAB_SIZE, make_tiny_glm

N_SLOTS = 5


@cache
def tiny_model() -> GlmForCausalLM:
    return make_tiny_glm()


def random_ids(seed: int, length: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCAB_SIZE, (length,), generator=generator).tolist()


@torch.inference_mode()
def full_logits(ids: list[int]) -> Tensor:
    """Compute the logits after the last id without any cache, (V,)."""
    return tiny_model()(torch.tensor([ids])).logits[0, -1]


def assert_same(ours: Tensor, expected: Tensor) -> None:
    """Compare logits, 1e-5 of the largest."""
    scale = float(expected.abs().max())
    torch.testing.assert_close(ours, expected, atol=1e-5 * scale, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_sequence_of_batches_equals_full_forward_passes(data: st.DataObject) -> None:
    """Chunks of prompts, single tokens of several slots beside them, rewinding, in any order."""
    runner = ModelRunner(tiny_model(), N_SLOTS, CONTEXT_LENGTH)
    runner.attends_by_row = data.draw(st.booleans(), label="attends by row")
    stored: list[list[int]] = [[] for _ in range(N_SLOTS)]
    for _ in range(data.draw(st.integers(1, 6), label="steps")):
        slots = data.draw(st.permutations(range(N_SLOTS)), label="slots")
        is_chunk = data.draw(st.booleans(), label="chunk")
        n_rows = data.draw(st.integers(1, len(slots)), label="rows")
        chunk_at = data.draw(st.integers(0, n_rows - 1), label="chunk at") if is_chunk else None
        rows = []
        for place, slot in enumerate(slots[:n_rows]):
            length = data.draw(st.integers(2, 40)) if place == chunk_at else 1
            del stored[slot][data.draw(st.integers(0, len(stored[slot])), label="rewind") :]
            new = random_ids(data.draw(st.integers(0, 99), label="seed"), length)
            rows.append(Row(slot, len(stored[slot]), new))
            stored[slot] += new
        logits = runner.score(runner.run(rows))
        for row, scores in zip(rows, logits, strict=True):
            assert_same(scores, full_logits(stored[row.slot]))


@needs_mkl
def test_a_token_has_the_same_bits_in_every_batch() -> None:
    ids = random_ids(1, 200)
    alone, beside = (ModelRunner(tiny_model(), N_SLOTS, CONTEXT_LENGTH) for _ in "ab")
    hidden = [alone.run([Row(0, i, [ids[i]])]) for i in range(len(ids))]
    for start, end in ((0, 7), (7, 100), (100, 101), (101, 150)):  # in chunks, in another slot
        chunk = beside.run([Row(3, start, ids[start:end])])
        assert torch.equal(chunk, hidden[end - 1])
    for slot in (0, 1, 2, 4):
        beside.run([Row(slot, 0, random_ids(10 + slot, 30 * slot + 2))])
    for i in range(150, 200):
        others = [Row(slot, 30 * slot + 2, [5]) for slot in (4, 0, 2, 1)][: i % 5]
        batch = [*others[: i % 3], Row(3, i, [ids[i]]), *others[i % 3 :]]
        index = [row.slot for row in batch].index(3)
        states = beside.run(batch)
        assert torch.equal(states[index], hidden[i][0])
        assert torch.equal(beside.score(states)[index], alone.score(hidden[i])[0])


@needs_mkl
def test_a_chunk_and_single_tokens_have_the_same_bits_together_and_apart() -> None:
    together, apart = (ModelRunner(tiny_model(), N_SLOTS, CONTEXT_LENGTH) for _ in "ab")
    for runner in (together, apart):
        for slot in (0, 1, 3):
            runner.run([Row(slot, 0, random_ids(slot, 20 * slot + 5))])
    singles = [Row(slot, 20 * slot + 5, [7]) for slot in (1, 0, 3)]
    for n_before, length in ((0, 2), (1, 13), (3, 40)):
        chunk = Row(4, 0, random_ids(length, length))
        rows = [*singles[:n_before], chunk, *singles[n_before:]]
        expected = torch.cat([apart.run([row]) for row in rows])
        assert torch.equal(together.run(rows), expected)


def test_the_whole_context_can_be_used() -> None:
    runner = ModelRunner(tiny_model(), 1, CONTEXT_LENGTH)
    ids = random_ids(2, CONTEXT_LENGTH)
    for start in range(0, CONTEXT_LENGTH - 1, runner.prefill_chunk):
        runner.run([Row(0, start, ids[start : start + runner.prefill_chunk][: 255 - start])])
    logits = runner.score(runner.run([Row(0, CONTEXT_LENGTH - 1, ids[-1:])]))
    assert_same(logits[0], full_logits(ids))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_number_formats_are_close(dtype: torch.dtype) -> None:
    model = make_tiny_glm().to(dtype)
    runner = ModelRunner(model, 1, CONTEXT_LENGTH)
    ids = random_ids(3, 20)
    ours = runner.score(runner.run([Row(0, 0, ids)]))[0]
    with torch.inference_mode():
        theirs = model(torch.tensor([ids])).logits[0, -1]
    assert ours.dtype == dtype
    assert float((ours - theirs).abs().max()) < 0.05 * float(theirs.abs().max())
