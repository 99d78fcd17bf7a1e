"""Static steps against the exact ones: same ids, close logits, and padding that touches nobody."""

import random
from dataclasses import replace

import pytest
import torch

from antiphon.engine.base import SamplingParams
from antiphon.engine.model_runner import Row
from antiphon.engine.sampling import Pick, Sampler
from antiphon.engine.static_step import (
    ALL_KINDS,
    LATEST,
    ROW_BUCKETS,
    NextToken,
    StaticStep,
    StepShape,
    shape_of,
)
from tests.static_bench import N_SLOTS, Pair, decode_at_random, random_prompt_of
from tests.tiny_glm import GREEDY

GREEDILY = Pick("greedy", 0.0, 1.0, 0, 0.0, None)


@pytest.mark.parametrize("seed", range(10))
def test_static_steps_choose_what_exact_ones_do(seed: int) -> None:
    decode_at_random(seed)


@pytest.mark.parametrize("n_rows", [1, 3, 8])
@pytest.mark.parametrize("n_keys", [256, 512])
def test_logits_are_those_of_the_dynamic_step_in_every_shape(n_rows: int, n_keys: int) -> None:
    pair, rng = Pair(), random.Random(n_rows)
    prompts = [random_prompt_of(rng, 150) for _ in range(n_rows)]
    for runner in (pair.exact, pair.static):
        for slot, prompt in enumerate(prompts):
            runner.run([Row(slot, 0, prompt[:-1])])
    rows = [Row(slot, len(prompt) - 1, prompt[-1:]) for slot, prompt in enumerate(prompts)]
    expected = pair.exact.score(pair.exact.run(rows))
    decoder = pair.decoders[1]
    assert pair.static.attention is not None
    n_keys = min(n_keys, pair.static.cache.capacity)
    for n_padded in (size for size in ROW_BUCKETS if n_rows <= size <= 16):
        shape = StepShape(n_padded, n_keys, ALL_KINDS, is_bounded=False)
        step = StaticStep(
            pair.static.network,
            pair.static.cache,
            pair.static.attention,
            decoder.buffers,
            shape,
        )
        padding = [pair.static.cache.padding_slot] * (n_padded - n_rows)
        slots = torch.tensor([*range(n_rows), *padding])
        positions = torch.tensor([row.start for row in rows] + [0] * len(padding))
        token_ids = torch.tensor([row.token_ids[0] for row in rows] + [0] * len(padding))
        with torch.inference_mode():
            logits = step.logits(token_ids, slots, positions)
        scale = float(expected.abs().max())
        torch.testing.assert_close(logits[:n_rows], expected, atol=1e-5 * scale, rtol=1e-5)


def test_a_step_touches_only_the_cells_of_its_rows_and_the_padding_slot() -> None:
    pair, rng = Pair(), random.Random(1)
    runner, decoder = pair.static, pair.decoders[1]
    for slot in range(N_SLOTS):
        runner.run([Row(slot, 0, random_prompt_of(rng, 100))])
    before = [layer.clone() for layer in runner.cache.states]
    latest = decoder.buffers.latest.clone()
    tokens = [NextToken(slot, 120 + slot, 5, GREEDILY) for slot in (4, 0, 7)]  # a bucket of 4
    ids = decoder.decode(tokens).read()
    for layer, old in zip(runner.cache.states, before, strict=True):
        changed = (layer != old).any(dim=-1).any(dim=2).any(dim=0).nonzero().tolist()
        assert sorted(changed) == sorted(
            [[slot, 120 + slot] for slot in (4, 0, 7)] + [[runner.cache.padding_slot, 0]]
        )
    for slot, token_id in zip((4, 0, 7), ids, strict=True):
        latest[slot] = token_id
    latest[runner.cache.padding_slot] = decoder.buffers.latest[runner.cache.padding_slot]
    assert torch.equal(decoder.buffers.latest, latest)


def test_the_token_chosen_last_needs_not_be_known_to_the_host() -> None:
    """The first after a prompt too, which `choose` has chosen."""
    pair = Pair()
    prompt = [5, 9, 200, 31]
    for runner in (pair.exact, pair.static):
        hidden = runner.run([Row(3, 0, prompt)])
    exact, static = pair.decoders
    sampler = Sampler(SamplingParams(temperature=1.0, top_p=0.9, seed=1), torch.device("cpu"))
    expected = exact.choose(hidden, 3, sampler.pick(0)).read()
    for place in range(1, 8):
        token = NextToken(3, len(prompt) + place - 1, expected[-1], sampler.pick(place))
        expected += exact.decode([token]).read()
    flights = [static.choose(hidden, 3, sampler.pick(0))]
    for place in range(1, 8):
        token = NextToken(3, len(prompt) + place - 1, LATEST, sampler.pick(place))
        flights.append(static.decode([token]))
    assert [flight.read()[0] for flight in flights] == expected


def test_bounds_go_with_the_reply_not_with_the_slot() -> None:
    pair, rng = Pair(), random.Random(3)
    for allowed in ((4, 8), None, (100,), (4, 8), None):
        sampling = replace(GREEDY, allowed_token_ids=allowed)
        beside = pair.begin(5, [1, 2, 3], replace(GREEDY, allowed_token_ids=(7,)))
        talk = pair.begin(2, [1, 2, 3], sampling)
        for _ in range(3):
            pair.step([talk, beside], rng)
            assert allowed is None or talk.last in allowed


def next_token(position: int, pick: Pick = GREEDILY) -> NextToken:
    return NextToken(0, position, 0, pick)


def test_shapes_come_in_few_sizes() -> None:
    drawn = replace(GREEDILY, kind="likely", temperature=1.0)
    bounded = replace(GREEDILY, allowed=torch.tensor([1]))
    expected = StepShape(4, 512, frozenset({"greedy"}), is_bounded=False)
    assert shape_of([next_token(511)] * 3, 8192, is_padded=True) == expected
    assert shape_of([next_token(512)] * 3, 8192, is_padded=True) == replace(expected, n_keys=1024)
    assert shape_of([next_token(5000)] * 3, 6400, is_padded=True).n_keys == 6400
    assert shape_of([next_token(5)] * 3, 8192, is_padded=False).n_keys == 8192
    assert shape_of([next_token(5, drawn)], 8192, is_padded=True).kinds == {"likely"}
    mixed = shape_of([next_token(5, drawn), next_token(5)], 8192, is_padded=True)
    assert (mixed.n_rows, mixed.kinds) == (2, ALL_KINDS)
    assert shape_of([next_token(5, bounded)] * 70, 8192, is_padded=True) == StepShape(
        96, 512, frozenset({"greedy"}), is_bounded=True
    )
