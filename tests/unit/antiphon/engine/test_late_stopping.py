"""Replies read one step late: they say the same, stop at the same token and leave nothing."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from antiphon.engine import decoder as decoder_module
from antiphon.engine import static_step, token_stream
from antiphon.engine.base import SamplingParams
from antiphon.engine.decoder import Flight, StaticDecoder
from antiphon.engine.local_engine import LocalEngine
from antiphon.engine.sampling import MANY_NEEDED
from antiphon.engine.static_step import NextToken
from antiphon.errors import EngineError
from tests.engine_bench import (
    ENDLESS,
    count_slots_in_use,
    greedy_by_hand,
    random_prompt,
    run_with_engine,
    runner_of,
    slow_model,
)
from tests.static_bench import random_sampling
from tests.tiny_glm import (
    CONTEXT_LENGTH,
    GREEDY,
    collect,
    make_engine,
    make_small_glm,
    say_twice,
    wait_until,
)

Ids = tuple[list[int], str | None]
SAMPLED = SamplingParams(temperature=1.0, top_p=0.9, seed=1, max_new_tokens=30)


def decoder_of(engine: LocalEngine) -> StaticDecoder:
    decoder = engine._scheduler._batch._decoder
    assert isinstance(decoder, StaticDecoder)
    return decoder


def late_engine(test, **sizes) -> None:
    run_with_engine(test, attention="sdpa", **sizes)


def replies_of(attention: str, requests: Sequence[tuple[list[int], SamplingParams]]) -> list[Ids]:
    """Answer one after another."""

    async def body() -> list[Ids]:
        engine = make_engine(attention=attention)
        try:
            return [await collect(engine.generate(*request)) for request in requests]
        finally:
            await engine.close()

    return asyncio.run(body())


def test_the_next_step_begins_before_the_last_one_is_read() -> None:
    """Launches and readings take turns, one launch ahead; nothing is read twice."""
    events: list[str] = []

    class Watched:
        def __init__(self, flight: Flight) -> None:
            self._flight = flight

        def read(self) -> list[int]:
            events.append("read")
            return self._flight.read()

    async def test(engine: LocalEngine) -> None:
        decoder = decoder_of(engine)
        decode = decoder.decode

        def watch(tokens: Sequence[NextToken]) -> Watched:
            events.append("launch")
            return Watched(decode(tokens))

        decoder.decode = watch  # type: ignore[assignment, method-assign]
        assert await collect(engine.generate([1, 2], GREEDY)) == (
            greedy_by_hand([1, 2], 20),
            "length",
        )
        # the first token comes from the prompt; at the end nothing is launched in vain
        assert events == ["launch"] + ["launch", "read"] * 18 + ["read"]

    late_engine(test)


@pytest.mark.parametrize("seed", range(6))
def test_random_mixtures_say_what_they_say_exactly_and_alone(seed: int) -> None:
    rng = random.Random(seed)
    requests = []
    for number in range(12):
        sampling = replace(random_sampling(rng), max_new_tokens=rng.randrange(1, 50))
        if number % 3 == 0:
            sampling = replace(sampling, stop_token_ids=tuple(range(0, 300, 12)))
        requests.append((random_prompt(rng.randrange(1000), rng.randrange(1, 190)), sampling))
    expected = replies_of("exact", requests)

    async def later(engine: LocalEngine, number: int) -> Ids | None:
        await asyncio.sleep(rng.random() * 0.05)
        stream = engine.generate(*requests[number], session_id=rng.choice([None, "a", "b"]))
        if number % 4 == 3:
            await anext(stream)
            await stream.aclose()
            return None
        return await collect(stream)

    async def test(engine: LocalEngine) -> None:
        found = await asyncio.gather(*(later(engine, number) for number in range(12)))
        for reply, right in zip(found, expected, strict=True):
            assert reply in (right, None)
        await asyncio.to_thread(wait_until, lambda: engine.stats().running == 0)
        assert count_slots_in_use(engine) == 0

    assert {reason for _, reason in expected} == {"stop", "length"}
    late_engine(test, max_concurrent=6, max_queue=20)


@pytest.mark.parametrize("place", [0, 1, 7])
def test_a_stop_id_ends_the_reply_there_and_the_token_after_it_is_thrown_away(place: int) -> None:
    expected = greedy_by_hand(random_prompt(1), 20)
    stop = expected[place]
    assert expected.index(stop) == place

    async def test(engine: LocalEngine) -> None:
        stopping = replace(GREEDY, stop_token_ids=(stop,))
        reply = await collect(engine.generate(random_prompt(1), stopping, session_id="s"))
        assert reply == (expected[: place + 1], "stop")
        assert engine.stats().generated_tokens == place + 1
        turn = [*random_prompt(1), *reply[0], 5, 6, 7]  # goes on where the extra token was run
        with slow_model(engine, 0.0) as calls:
            again = await collect(engine.generate(turn, GREEDY, session_id="s"))
        assert calls[0] == 4, "the prefix was kept up to the stop id, which had not been run"
        assert again == (greedy_by_hand(turn, 20), "length")

    late_engine(test)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_limit_is_kept_to_the_token(n: int) -> None:
    async def test(engine: LocalEngine) -> None:
        reply = await collect(engine.generate([1, 2], replace(GREEDY, max_new_tokens=n)))
        assert reply == (greedy_by_hand([1, 2], n), "length")
        full = await collect(engine.generate([1] * (CONTEXT_LENGTH - n), ENDLESS))
        assert (len(full[0]), full[1]) == (n, "length")

    late_engine(test)


def test_cancelling_frees_the_slot_in_a_step_and_the_next_reply_is_right() -> None:
    async def test(engine: LocalEngine) -> None:
        for _ in range(6):
            stream = engine.generate([1, 2, 3], ENDLESS, request_id="r")
            head = [(await anext(stream)).token_ids[0] for _ in range(3)]
            await engine.cancel("r")
            tail, reason = await collect(stream)
            assert reason == "cancelled"
            ids = [*head, *tail]
            assert ids == greedy_by_hand([1, 2, 3], len(ids))
            assert count_slots_in_use(engine) == 0
            other = random_prompt(4, 30)
            assert (await collect(engine.generate(other, GREEDY)))[0] == greedy_by_hand(other, 20)

    late_engine(test, max_concurrent=1)


def test_a_barge_in_rewinds_to_what_was_heard() -> None:
    async def test(engine: LocalEngine) -> None:
        prompt = random_prompt(2, 40)
        for n_heard in (1, 5, 9):
            stream = engine.generate(prompt, ENDLESS, session_id="s")
            heard = [(await anext(stream)).token_ids[0] for _ in range(n_heard)]
            await stream.aclose()
            prompt = [*prompt, *heard[:-1], 7, 8]
            reply = await collect(engine.generate(prompt, GREEDY, session_id="s"))
            assert reply == (greedy_by_hand(prompt, 20), "length")

    late_engine(test)


def test_where_many_candidates_are_needed_the_token_is_chosen_again_by_the_same_chance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests = [
        (random_prompt(seed), replace(SAMPLED, seed=seed, temperature=heat))
        for seed in range(4)
        for heat in (0.3, 3.0)
    ]
    expected = replies_of("exact", requests)
    monkeypatch.setattr(static_step, "N_CANDIDATES", 3)
    monkeypatch.setattr(decoder_module, "N_CANDIDATES", 3)
    n_again = 0

    async def test(engine: LocalEngine) -> None:
        batch = engine._scheduler._batch
        take = batch._take

        def count(generation, token_id: int) -> None:
            nonlocal n_again
            n_again += token_id == MANY_NEEDED
            take(generation, token_id)

        batch._take = count  # type: ignore[method-assign]
        found = await asyncio.gather(*(collect(engine.generate(*item)) for item in requests))
        assert found == expected
        assert 20 < n_again < 200

    late_engine(test, max_concurrent=8)


def test_a_row_that_fails_takes_nobody_along(caplog: pytest.LogCaptureFixture) -> None:
    async def test(engine: LocalEngine) -> None:
        decoder = decoder_of(engine)
        decode = decoder.decode

        def fail_on_bad(tokens: Sequence[NextToken]) -> Flight:
            if any(token.pick.top_k == 77 and token.position == 9 for token in tokens):
                raise RuntimeError("out of memory on purpose")
            return decode(tokens)

        decoder.decode = fail_on_bad  # type: ignore[assignment, method-assign]
        bad = replace(SAMPLED, top_k=77)
        outcomes = await asyncio.gather(
            collect(engine.generate([1, 2, 3], GREEDY)),
            collect(engine.generate([4, 5, 6], bad)),
            collect(engine.generate([7, 8, 9], GREEDY)),
            return_exceptions=True,
        )
        assert outcomes[0] == (greedy_by_hand([1, 2, 3], 20), "length")
        assert outcomes[2] == (greedy_by_hand([7, 8, 9], 20), "length")
        assert isinstance(outcomes[1], EngineError)
        assert "out of memory on purpose" in str(outcomes[1])
        assert count_slots_in_use(engine) == 0

    late_engine(test)
    assert "failed" in caplog.text


def test_a_flight_that_is_lost_fails_its_replies_and_the_engine_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Lost:
        def read(self) -> list[int]:
            raise RuntimeError("an illegal memory access was encountered")

    async def test(engine: LocalEngine) -> None:
        decoder = decoder_of(engine)
        decode, n_steps = decoder.decode, 0

        def lose_one(tokens: Sequence[NextToken]) -> Flight:
            nonlocal n_steps
            n_steps += 1
            return Lost() if n_steps == 5 else decode(tokens)

        decoder.decode = lose_one  # type: ignore[assignment, method-assign]
        with pytest.raises(EngineError, match="illegal memory access"):
            await collect(engine.generate([1, 2, 3], GREEDY))
        assert (await collect(engine.generate([1, 2], GREEDY)))[0] == greedy_by_hand([1, 2], 20)
        assert count_slots_in_use(engine) == 0

    late_engine(test)
    assert "failed" in caplog.text


def test_scores_that_are_not_finite_end_their_own_reply_only() -> None:
    async def test(engine: LocalEngine) -> None:
        with torch.no_grad():
            runner_of(engine).network._embed.weight[7] = float("nan")
        bad, good = await asyncio.gather(
            collect(engine.generate([1, 7, 2], GREEDY)),
            collect(engine.generate([3, 4], GREEDY)),
            return_exceptions=True,
        )
        assert isinstance(bad, EngineError)
        assert "no finite score" in str(bad)
        assert good == (greedy_by_hand([3, 4], 20), "length")
        again = [await collect(engine.generate([3, 4], GREEDY)) for _ in range(12)]
        assert again == [good] * 12, "in whatever slot"

    late_engine(test)


def test_a_slow_reader_is_paused_at_the_same_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_stream, "BUFFER_SIZE", 5)

    async def test(engine: LocalEngine) -> None:
        slow = engine.generate([1, 2], GREEDY)
        await asyncio.to_thread(wait_until, lambda: engine.stats().generated_tokens == 5)
        other = await collect(engine.generate([3], GREEDY))
        assert other == (greedy_by_hand([3], 20), "length")
        assert engine.stats().generated_tokens == 25
        assert await collect(slow) == (greedy_by_hand([1, 2], 20), "length")

    late_engine(test)


def test_the_usual_steps_are_ready_before_the_first_request() -> None:
    async def test(engine: LocalEngine) -> None:
        graphs = decoder_of(engine).graphs
        assert len(graphs) == 4  # 1, 2, 4 and 8 rows; a slot holds no more than the fewest keys
        await asyncio.gather(*(collect(engine.generate([n, 2], SAMPLED)) for n in range(6)))
        assert len(graphs) == 4

    late_engine(test, max_concurrent=6)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "int4"])
def test_small_number_formats_run_through_the_same_loop(dtype: str) -> None:
    asyncio.run(say_twice(make_small_glm(dtype), "sdpa"))
    asyncio.run(say_twice(make_small_glm(dtype), "exact"))
