"""Every benchmark at toy size: the gpu suite on a CPU, with random weights in a tiny shape."""

import asyncio
from dataclasses import replace

import pytest
import torch

from antiphon.bench import (
    decoder,
    engine,
    gpu,
    hearing,
    latency,
    load,
    long,
    memory,
    step,
    turns,
)
from antiphon.bench.random_model import make_parts
from antiphon.bench.report import write_report
from antiphon.errors import AntiphonError, ConfigError
from tests.tiny_shape import TINY

pytestmark = pytest.mark.slow

PRESETS = gpu.Presets(
    step=step.Options(batches=(1, 3), contexts=(20, 300), steps=4),
    latency=latency.Options(rounds=1, max_new_tokens=80),
    load=load.Options(
        rates=(4.0,), duration_s=0.8, warm_up_s=0.2, patience_s=60.0, max_new_tokens=50
    ),
    turns=turns.Options(turns=3, max_new_tokens=10),
    long=long.Options(minutes=0.15, baseline_minutes=0.05),
    memory=memory.Options(replies=(1, 2), max_new_tokens=40),
    decoder=decoder.Options(
        tokens=(10,), batches=(1, 2), rounds=1, contexts=(10,), reply_tokens=40, replies=1
    ),
    engine=engine.Options(streams=(1, 2), rounds=1, n_prompt=8, n_new=8),
    hearing=hearing.Options(rounds=1),
)


@pytest.fixture(scope="module")
def parts():
    made = make_parts(TINY, torch.device("cpu"), torch.float32)
    return replace(made, clips=tuple(clip[:8000] for clip in made.clips[:1]))


@pytest.fixture(scope="module")
def reports(parts, tmp_path_factory):
    async def run():
        return {name: report async for name, report in gpu.measure_all(parts, PRESETS)}

    found = asyncio.run(run())
    folder = tmp_path_factory.mktemp("reports")
    for name, report in found.items():
        write_report(report, folder, name, "a test")
        assert (folder / f"{name}.png").stat().st_size > 1000
    return found


def table(report, number=0):
    chosen = report.tables[number]
    return [dict(zip(chosen.columns, row, strict=True)) for row in chosen.rows]


def test_latency_has_all_stages_of_all_sides(reports):
    rows = table(reports["latency"])
    assert [row["stage"] for row in rows[:2]] == ["speech tokens of the question", "prefill"]
    first = rows[3]
    assert first["stage"] == latency.FIRST_AUDIO
    assert first["baseline / antiphon"] > 0
    assert first["antiphon, heard while spoken: p50"] > rows[2]["antiphon, heard while spoken: p50"]
    assert [row["stage"] for row in rows[4:]] == ["block 2", "block 3"]
    # 80 tokens: 13, 26, 13, 26, 2. The original's blocks of 25 and 50 leave one block fewer.
    assert rows[-1]["baseline: p50"] is None


def test_load_answers_everyone(reports):
    (ours, theirs) = table(reports["load"], 1)
    assert ours["side"], theirs["side"] == ("antiphon", "baseline")
    assert ours["sessions"] == theirs["sessions"] > 0
    assert ours["failures"] == theirs["failures"] == 0
    assert ours["first audio p90"] > 0
    assert ours["audio s a wall s"] > 0


def test_later_turns_have_only_new_tokens_to_run(reports):
    rows = table(reports["turns"])
    prompts = [row["prompt tokens"] for row in rows]
    new = [row["antiphon: new tokens"] for row in rows]
    assert new[0] == prompts[0] > 40
    assert (
        prompts[1] - prompts[0] == prompts[2] - prompts[1] > 10
    )  # the reply and the next question
    assert (
        new[1] == new[2] == prompts[1] - prompts[0] - 9
    )  # of 10 tokens said, the last was not run
    assert all(row["baseline: prefill s"] > 0 for row in rows)


def test_long_replies_come_in_the_blocks_of_each_side(reports):
    report = reports["long"]
    assert [row["tokens"] for row in table(report, 1)] == [10, 10, 20, 30]
    assert [row["tokens"] for row in table(report, 2)] == [25]
    assert [row["ends after s"] for row in table(report, 3)] == [2.0]
    ours = table(report)[0]
    assert (ours["early block"], ours["late block"]) == (2, 4)
    assert table(report, 1)[-1]["ends after s"] == pytest.approx(70 * 0.08)


def test_blocks_are_compared_at_the_same_second():
    ours = [long.Block(1, 10, 0.8, 0.4), long.Block(2, 20, 2.4, 0.4)]
    theirs = [long.Block(1, 25, 2.0, 2.0)]
    assert ours[1].cost_a_second == pytest.approx(0.25)  # 0.4 s for 1.6 s of speech
    assert long.side_by_side(ours, theirs) == ((2.0, pytest.approx(0.25), 1.0, 4.0),)
    assert long.compare(ours, 2, 60) == (2, 2, 0.25, 0.25, 1.0)
    assert long.compare(ours, 1, 2) == (1, 2, 0.5, 0.25, 0.5)


def test_memory_knows_its_slots(reports):
    sizes = {row["what"]: row["MiB or number"] for row in table(reports["memory"])}
    assert sizes["slots"] == 2 + 8
    # 2 layers, 2 heads of 8, keys and values, float32, 1024 tokens
    assert sizes["one slot, allocated at the start"] == 2 * 2 * 8 * 2 * 4 * 1024 / 2**20
    assert [row["replies at once"] for row in table(reports["memory"], 1)] == [1, 2]


def test_memory_peaks_are_seen():
    device = torch.device("cpu")
    with memory.watch(device) as peak:
        before = peak.n_bytes
        block = torch.ones(64 * 2**18)  # 64 MiB
        level = memory.used_bytes(device)
        del block
    assert level - before > 50 * 2**20
    assert peak.n_bytes >= before


def test_the_whole_past_is_the_yardstick_of_contexts(reports):
    bounded, whole = table(reports["decoder"], 1)
    assert (whole["context tokens"], whole["mel L1"]) == ("whole", 0.0)
    assert bounded["mel L1"] > 0
    assert [row["batch"] for row in table(reports["decoder"])] == [1, 2]


def test_engine_has_a_row_for_each_setting(reports):
    rows = table(reports["engine"])
    assert [row["setting"] for row in rows[1:]] == ["antiphon, 1 at once", "antiphon, 2 at once"]
    assert all(row["tokens a second"] > 0 for row in rows)


@pytest.mark.parametrize("name", ["step", "step-int4"])
def test_steps_are_timed_for_every_batch_and_context(reports, name):
    rows = table(reports[name])
    assert [(row["replies"], row["context"]) for row in rows] == [
        (n, context) for context in (20, 300) for n in (1, 3)
    ]
    sizes = {row["what"]: row["value"] for row in table(reports[name], 1)}
    # 2 layers, keys and values, 2 heads of 8, float32
    assert sizes["keys and values of a token, bytes"] == 2 * 2 * 2 * 8 * 4
    for row in rows:
        assert row["ms a step"] > 0
        assert row["tokens a second"] == pytest.approx(
            1000 * row["replies"] / row["ms a step"], 0.1
        )


def test_steps_that_do_not_fit_the_memory_are_refused(parts, monkeypatch):
    monkeypatch.setattr(step, "cache_memory", lambda device: 200_000)
    with pytest.raises(ConfigError, match="give smaller --batches or --contexts"):
        asyncio.run(step.measure(parts, PRESETS.step))


def test_the_large_presets_leave_the_baseline_little_to_do():
    """What takes most of the eight minutes: whatever is played or waited for at its own pace."""
    load_options = gpu.large_presets().load
    one_rate_s = load_options.warm_up_s + load_options.duration_s + load_options.patience_s
    assert 2 * len(load_options.rates) * one_rate_s < 240


def test_hearing_hears_the_same_tokens(reports):
    others = {row["what"]: row["value"] for row in table(reports["hearing"], 1)}
    assert (others["clips"], others["mean length in s"]) == (1, 0.5)


def test_a_failed_turn_ends_the_benchmark(parts):
    silent = replace(parts, clips=(parts.clips[0][:0],))
    with pytest.raises(AntiphonError, match=r"turn .* failed"):
        asyncio.run(latency.measure(silent, PRESETS.latency))


def test_patience_ends_a_call(parts):
    options = replace(PRESETS.load, patience_s=0.001)

    async def run():
        async with parts.open_pipeline() as pipeline:
            return await load.run_rate(parts, pipeline, 4.0, options)

    outcome = load.sum_up(asyncio.run(run()), options.warm_up_s)
    assert outcome.n_failures == outcome.n_sessions > 0
