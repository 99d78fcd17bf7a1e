"""Sampling against independent formulas, seeds, and scores that are not finite."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import TopPLogitsWarper

from antiphon.engine import sampling as sampling_module
from antiphon.engine.base import Interleave, SamplingParams
from antiphon.engine.sampling import (
    FEW_CANDIDATES,
    N_CANDIDATES,
    Pick,
    check_sampling,
    choose_tokens,
    keep_likeliest,
)
from antiphon.errors import ConfigError

CPU = torch.device("cpu")


def draw(logits: torch.Tensor, n: int, **options: float) -> list[int | None]:
    sampler = Sampler(SamplingParams(**{"seed": 3, "top_p": 1.0, **options}), CPU)
    return [choose(logits, sampler) for _ in range(n)]


class Sampler(sampling_module.Sampler):
    """Counts the tokens chosen with it."""

    def next_pick(self) -> Pick:
        self.n_chosen = getattr(self, "n_chosen", -1) + 1
        return self.pick(self.n_chosen)


def choose(logits: torch.Tensor, sampler: Sampler) -> int | None:
    return choose_tokens(logits[None], [sampler.next_pick()])[0]


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.tensor([0.1, 3.0, 2.9])
    assert draw(logits, 5, temperature=0.0) == [1] * 5


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_softmax(temperature: float) -> None:
    logits = torch.tensor([1.0, 0.0, -1.0])
    counts = Counter(draw(logits, 4000, temperature=temperature))
    expected = torch.softmax(logits / temperature, 0)
    for token_id in range(3):
        assert counts[token_id] / 4000 == pytest.approx(float(expected[token_id]), abs=0.03)


def test_top_k_keeps_k() -> None:
    logits = torch.tensor([0.0, 5.0, 4.9, 4.8, 1.0])
    assert set(draw(logits, 300, temperature=1.0, top_k=3)) == {1, 2, 3}


@pytest.mark.parametrize("size", [40, 3000])
@pytest.mark.parametrize("scale", [0.1, 3.0])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.8, 0.99])
def test_top_p_keeps_the_same_tokens_as_transformers(size: int, scale: float, top_p: float) -> None:
    logits = torch.randn(size, generator=torch.Generator().manual_seed(1)) * scale
    expected = TopPLogitsWarper(top_p)(torch.zeros(1, 1), logits[None])[0] > -math.inf
    probabilities = torch.softmax(logits, 0)[None]
    limits = torch.zeros(1, 1), torch.full((1, 1), top_p)
    kept, ids, is_enough = keep_likeliest(probabilities, *limits, size)
    assert is_enough.all()
    assert set(ids[kept > 0].tolist()) == set(expected.nonzero().flatten().tolist())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_only_allowed_ids_are_chosen(temperature: float) -> None:
    sampling = SamplingParams(temperature, 1.0, seed=3, allowed_token_ids=(4, 2, 4))
    sampler = Sampler(sampling, CPU)
    drawn = {choose(torch.tensor([9.0, 8.0, 1.0, 7.0, 1.5]), sampler) for _ in range(100)}
    assert drawn == ({4} if temperature == 0 else {2, 4})
    assert choose(torch.tensor([1.0, 1.0, -math.inf, 1.0, math.nan]), sampler) is None


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("allowed", [None, (0, 5, 6, 7)])
def test_blocks_of_sound_hold_speech_tokens_and_the_end_alone(
    temperature: float, allowed: tuple[int, ...] | None
) -> None:
    """Where text may come, speech tokens may too: they go on where the text has ended."""
    blocks = Interleave(n_text=2, n_audio=3, audio_0=4, n_codes=3)
    sampling = SamplingParams(
        temperature, 1.0, seed=3, stop_token_ids=(3,), allowed_token_ids=allowed, interleave=blocks
    )
    sampler, logits = Sampler(sampling, CPU), torch.tensor([5.0, 1.0, 0.0, 3.5, 0.5, 4.0, 3.0, 2.0])
    may_come = set(range(8)) if allowed is None else set(allowed)
    drawn: dict[bool, set[int | None]] = {True: set(), False: set()}
    for place in range(400):
        drawn[place % 5 >= 2].add(choose(logits, sampler))
    if temperature == 0:
        assert drawn == {True: {5}, False: {0}}
    else:
        assert drawn[True] == may_come & {3, 4, 5, 6}
        assert {0, 5, 6} <= drawn[False] <= may_come


def test_a_seed_repeats_and_another_differs() -> None:
    logits = torch.zeros(1000)
    first = draw(logits, 20, temperature=1.0, seed=11)
    assert first == draw(logits, 20, temperature=1.0, seed=11)
    assert first != draw(logits, 20, temperature=1.0, seed=12)


def test_no_seed_differs_each_time_and_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    logits = torch.zeros(10_000)
    first, second = (
        choose(logits, Sampler(SamplingParams(temperature=1.0, top_p=1.0), CPU)) for _ in "ab"
    )
    assert first != second
    assert torch.equal(state, torch.get_rng_state())


@settings(max_examples=100, deadline=None)
@given(
    scores=st.lists(st.floats(width=32), min_size=1, max_size=30),
    temperature=st.floats(0, 1e30) | st.sampled_from([1e-45, 1e-6, 2e-5]),
    top_p=st.floats(0, 1, exclude_min=True),
    top_k=st.integers(0, 40),
)
def test_any_scores_give_an_id_with_a_finite_score_or_none(
    scores: list[float], temperature: float, top_p: float, top_k: int
) -> None:
    sampling = SamplingParams(temperature=temperature, top_p=top_p, top_k=top_k, seed=0)
    sampler = Sampler(sampling, CPU)
    token_id = choose(torch.tensor(scores), sampler)
    assert (token_id is None) == (not any(map(math.isfinite, scores)))
    assert token_id is None or math.isfinite(scores[token_id])


SAMPLINGS = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.2, 1.0, 3.0]),
    top_p=st.sampled_from([0.3, 0.9, 1.0]),
    top_k=st.sampled_from([0, 0, 2, 600]),
    seed=st.integers(0, 9),
    allowed_token_ids=st.sampled_from([None, None, (1, 5, 9)]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(SAMPLINGS, min_size=1, max_size=6), st.sampled_from([12, 700, 3000]))
def test_a_row_is_chosen_as_if_it_were_alone(samplings: list[SamplingParams], size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    steps = torch.randn(4, len(samplings), size, generator=generator)
    steps[1, 0] = math.nan
    together, alone = ([Sampler(each, CPU) for each in samplings] for _ in "ab")
    for logits in steps:
        expected = [choose(row, sampler) for row, sampler in zip(logits, alone, strict=True)]
        assert choose_tokens(logits, [each.next_pick() for each in together]) == expected


def test_more_candidates_are_looked_at_where_the_first_do_not_hold_the_mass() -> None:
    drawn = draw(torch.zeros(40 * N_CANDIDATES), 50, temperature=1.0, top_p=0.9)
    assert len(set(drawn)) > 40
    by_k = draw(torch.zeros(40 * N_CANDIDATES), 50, temperature=1.0, top_k=30 * N_CANDIDATES)
    assert len(set(by_k)) > 40


def test_a_place_has_the_same_chance_however_often_it_is_asked() -> None:
    sampling = SamplingParams(temperature=1.0, seed=5)
    ahead, behind = (sampling_module.Sampler(sampling, CPU) for _ in "ab")
    far = ahead.pick(100)
    chances = [behind.pick(place).chance for place in range(101)]
    assert far.chance == chances[100]
    assert [ahead.pick(place).chance for place in range(101)] == chances
    assert len(set(chances)) == 101


@pytest.mark.parametrize("top_p", [0.2, 0.7, 0.95])
def test_how_many_are_sorted_first_does_not_change_the_choice(
    top_p: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = torch.tensor([[0.05], [1.0], [4.0], [9.0]])  # needing all, many or few candidates
    logits = torch.randn(4, 3000, generator=torch.Generator().manual_seed(2)) * scale
    options = SamplingParams(temperature=1.0, top_p=top_p, seed=4)
    found = []
    for n_first in (1, FEW_CANDIDATES, 3000):
        monkeypatch.setattr(sampling_module, "FEW_CANDIDATES", n_first)
        samplers = [Sampler(options, CPU) for _ in range(4)]
        found.append(
            [choose_tokens(logits, [each.next_pick() for each in samplers]) for _ in range(30)]
        )
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -0.1}, "temperature -0.1"),
        ({"temperature": math.nan}, "temperature nan"),
        ({"temperature": math.inf}, "temperature inf"),
        ({"top_p": 0.0}, "top_p 0.0"),
        ({"top_p": 1.1}, "top_p 1.1"),
        ({"top_p": math.nan}, "top_p nan"),
        ({"top_k": -1}, "top_k -1"),
        ({"max_new_tokens": 0}, "max_new_tokens 0 must be at least 1"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 2**63}, "seed 9223372036854775808"),
        ({"allowed_token_ids": ()}, "allowed_token_ids"),
        ({"allowed_token_ids": (1, -1)}, "allowed_token_ids"),
        ({"interleave": Interleave(0, 26, 5, 9)}, "interleave.n_text 0 must be at least 1"),
        ({"interleave": Interleave(13, -1, 5, 9)}, "interleave.n_audio"),
        ({"interleave": Interleave(13, 26, -5, 9)}, "interleave.audio_0"),
        ({"interleave": Interleave(13, 26, 5, 0)}, "interleave.n_codes"),
        (
            {"interleave": Interleave(13, 26, 5, 9), "allowed_token_ids": (3, 14)},
            "no speech token",
        ),
    ],
)
def test_wrong_values_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_sampling(SamplingParams(**options))  # type: ignore[arg-type]


def test_the_largest_seed_works() -> None:
    assert draw(torch.zeros(5), 1, temperature=1.0, seed=2**63 - 1)
