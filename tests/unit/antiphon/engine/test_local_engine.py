"""The engine on a tiny random model: same ids as the model alone, whatever else runs or fails."""

import asyncio
from dataclasses import replace

import pytest

from antiphon.engine.base import EngineStats, Interleave, SamplingParams
from antiphon.engine.local_engine import LocalEngine
from antiphon.errors import ConfigError, PromptError
from tests.engine_bench import (
    ENDLESS,
    greedy_by_hand,
    random_prompt,
    run_with_engine,
    slow_model,
)
from tests.tiny_glm import (
    CONTEXT_LENGTH,
    GREEDY,
    VOCAB_SIZE,
    collect,
    make_tiny_glm,
)


def test_greedy_ids_equal_the_model_without_cache() -> None:
    prompt = random_prompt(1)
    expected = greedy_by_hand(prompt, 20)
    assert len(set(expected)) > 5, "the tiny model must not just repeat itself"

    async def test(engine: LocalEngine) -> None:
        assert await collect(engine.generate(prompt, GREEDY)) == (expected, "length")
        assert engine.stats() == EngineStats(running=0, waiting=0, generated_tokens=20)

    run_with_engine(test)


def test_a_stop_id_is_delivered_and_ends_the_reply() -> None:
    prompt = random_prompt(1)
    expected = greedy_by_hand(prompt, 20)
    stop = expected[7]
    first = expected.index(stop)

    async def test(engine: LocalEngine) -> None:
        ids, reason = await collect(
            engine.generate(prompt, replace(GREEDY, stop_token_ids=(stop,)))
        )
        assert (ids, reason) == (expected[: first + 1], "stop")

    run_with_engine(test)


def test_requests_running_together_give_the_ids_they_give_alone() -> None:
    sampled = SamplingParams(temperature=1.0, top_p=0.9, max_new_tokens=40)
    requests = [
        (random_prompt(seed, 5 + 9 * seed), replace(sampled, seed=seed)) for seed in range(10)
    ]

    async def test(engine: LocalEngine) -> None:
        alone = [await collect(engine.generate(*request)) for request in requests]
        together = await asyncio.gather(*(collect(engine.generate(*item)) for item in requests))
        assert together == alone
        assert len({tuple(ids) for ids, _ in alone}) == 10

    run_with_engine(test)


def test_a_prompt_computed_in_chunks_gives_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.engine.model_runner.CPU_PREFILL_CHUNK", 7)
    prompt = random_prompt(2, 100)

    async def test(engine: LocalEngine) -> None:
        with slow_model(engine, 0.0) as calls:
            ids, _ = await collect(engine.generate(prompt, GREEDY))
        assert ids == greedy_by_hand(prompt, 20)
        assert calls == [7] * 14 + [2] + [1] * 19

    run_with_engine(test)


def test_a_session_reuses_its_prefix_and_gives_the_same_ids() -> None:
    async def test(engine: LocalEngine) -> None:
        history = random_prompt(3, 60)
        for turn in range(4):
            with slow_model(engine, 0.0) as calls:
                reply, _ = await collect(engine.generate(history, GREEDY, session_id="s"))
            assert reply == (await collect(engine.generate(history, GREEDY)))[0]
            if turn:  # only the new user turn and the last token of the reply are computed
                assert calls[0] == 9
            history = [*history, *reply, *random_prompt(10 + turn, 8)]

    run_with_engine(test)


def test_a_session_whose_history_changed_gives_the_same_ids() -> None:
    async def test(engine: LocalEngine) -> None:
        history = random_prompt(4, 50)
        await collect(engine.generate(history, GREEDY, session_id="s"))
        for changed in ([*history[:20], 5, 6, 7], history[:10], history, random_prompt(5)):
            reused, _ = await collect(engine.generate(changed, GREEDY, session_id="s"))
            assert reused == (await collect(engine.generate(changed, GREEDY)))[0]

    run_with_engine(test)


def test_two_requests_of_one_session_at_once_do_not_share_a_cache() -> None:
    first, second = random_prompt(6, 30), random_prompt(7, 30)

    async def test(engine: LocalEngine) -> None:
        replies = await asyncio.gather(
            *(collect(engine.generate(ids, GREEDY, session_id="s")) for ids in (first, second))
        )
        assert [ids for ids, _ in replies] == [greedy_by_hand(ids, 20) for ids in (first, second)]

    run_with_engine(test)


def test_a_seed_repeats_the_reply() -> None:
    sampling = SamplingParams(temperature=1.5, top_p=1.0, seed=9, max_new_tokens=30)

    async def test(engine: LocalEngine) -> None:
        prompt = random_prompt(8)
        first = await collect(engine.generate(prompt, sampling))
        assert first == await collect(engine.generate(prompt, sampling))
        assert first != await collect(engine.generate(prompt, replace(sampling, seed=10)))

    run_with_engine(test)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ([], "empty"),
        ([0] * CONTEXT_LENGTH, "has 256 tokens, but the context holds 256"),
        ([0] * 1000, "has 1000 tokens, but the context holds 256"),
        ([1, VOCAB_SIZE], "token id 300 is outside the vocabulary of 300"),
        ([-1, 5], "token id -1"),
        ([1.5], "whole numbers"),
        (["a"], "whole numbers"),
    ],
)
def test_wrong_prompts_are_refused_in_words(prompt: list[int], words: str) -> None:
    async def test(engine: LocalEngine) -> None:
        with pytest.raises(PromptError, match=words):
            engine.generate(prompt, GREEDY)
        assert engine.stats().waiting == engine.stats().running == 0

    run_with_engine(test)


def test_impossible_sampling_is_refused_and_a_huge_length_fills_the_context() -> None:
    async def test(engine: LocalEngine) -> None:
        with pytest.raises(ConfigError, match="max_new_tokens 0"):
            engine.generate([1], replace(GREEDY, max_new_tokens=0))
        with pytest.raises(ConfigError, match="holds 300, which is outside"):
            engine.generate([1], replace(GREEDY, allowed_token_ids=(1, VOCAB_SIZE)))
        blocks = Interleave(13, 26, audio_0=40, n_codes=10**15)
        with pytest.raises(ConfigError, match="interleave holds 1000000000000039, which is outsi"):
            engine.generate([1], replace(GREEDY, interleave=blocks))
        blocks = replace(blocks, n_codes=2)
        with pytest.raises(ConfigError, match="stop_token_ids holds -1, which is outside"):
            engine.generate([1], replace(GREEDY, interleave=blocks, stop_token_ids=(5, -1)))
        ids, reason = await collect(engine.generate([1, 2, 3], ENDLESS))
        assert (len(ids), reason) == (CONTEXT_LENGTH - 3, "length")
        last = await collect(engine.generate([1] * (CONTEXT_LENGTH - 1), ENDLESS))
        assert (len(last[0]), last[1]) == (1, "length")

    run_with_engine(test)


def test_sizes_that_do_not_fit_the_model_are_refused() -> None:
    with pytest.raises(ConfigError, match="301 does not fit a model with 300"):
        LocalEngine(make_tiny_glm(), vocab_size=301, context_length=64)
    with pytest.raises(ConfigError, match="max_concurrent 0"):
        LocalEngine(make_tiny_glm(), vocab_size=300, context_length=64, max_concurrent=0)
