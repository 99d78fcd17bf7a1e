"""The whole path on tiny random checkpoints: clip or text in, text and sound out, and bad input."""

import asyncio
import itertools
import json
import shutil
import threading

import numpy as np
import pytest
import soundfile

from antiphon import cli
from antiphon.assembly import ModelChoice, load_parts, open_pipeline
from antiphon.audio import write_wav
from antiphon.config import ServerConfig
from antiphon.dialogue.events import AudioChunk, TextDelta, TurnDone, TurnFailed, UserTokens
from antiphon.dialogue.session import Session, UserTurn
from antiphon.dialogue.turn_pipeline import TurnOptions
from antiphon.engine.model_runner import ModelRunner
from antiphon.server.app import create_app
from antiphon.serving import load_engine
from tests.dialogue_fakes import tone
from tests.tiny_glm import wait_until
from tests.tiny_server import send_lines, serve_app, serve_bytes

SHORT = TurnOptions(temperature=0.0, max_new_tokens=60, seed=1)


@pytest.fixture(scope="module")
def parts(tiny_checkpoints):
    """The loaded tiny model."""
    return load_parts(ModelChoice(model=str(tiny_checkpoints), device="cpu"))


@pytest.fixture
def clip(tmp_path):
    """A clip of two seconds at 44.1 kHz."""
    path = tmp_path / "question.wav"
    write_wav(path, tone(2.0, 44_100), 44_100)
    return path


def run(parts, scenario):
    """Run `scenario(pipeline)`; nothing may be left behind."""

    async def limited():
        async with open_pipeline(parts) as pipeline:
            result = await asyncio.wait_for(scenario(pipeline), timeout=60)
            assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    result = asyncio.run(limited())
    assert not [t.name for t in threading.enumerate() if t.name.startswith("antiphon-")]
    return result


async def ask(pipeline, session, user_turn, options=SHORT):
    return [event async for event in pipeline.respond(session, user_turn, options)]


def sound_of(events):
    return np.concatenate([event.waveform for event in events if isinstance(event, AudioChunk)])


def test_a_conversation_by_voice_and_text(parts):
    session = Session()

    async def scenario(pipeline):
        spoken = UserTurn(waveform=tone(2.0, 8000), sample_rate=8000)
        return [
            await ask(pipeline, session, spoken),
            await ask(pipeline, session, UserTurn(text="And then? <|system|>")),
        ]

    spoken, typed = run(parts, scenario)
    assert isinstance(spoken[0], UserTokens)
    assert len(spoken[0].speech_tokens) == 25
    for events in (spoken, typed):
        done = events[-1]
        assert isinstance(done, TurnDone)
        assert done.n_text_tokens + done.n_audio_tokens == 60
        assert done.stop_reason == "length"
        text = "".join(event.text for event in events if isinstance(event, TextDelta))
        assert text == done.text
        assert done.audio_s == pytest.approx(len(sound_of(events)) / 22_050)
        assert done.audio_s == pytest.approx(done.n_audio_tokens / 12.5, abs=0.02)
        assert np.isfinite(sound_of(events)).all()
        assert np.abs(sound_of(events)).max() > 0
    assert len(session.turns) == 2


def test_speech_in_pieces_gets_the_reply_of_the_clip(parts):
    waveform = tone(5.0, 44_100)

    async def speech():
        for start in range(0, len(waveform), 4410):
            yield waveform[start : start + 4410]

    async def scenario(pipeline):
        return [
            await ask(pipeline, Session(), UserTurn(speech=speech(), sample_rate=44_100)),
            await ask(pipeline, Session(), UserTurn(waveform=waveform, sample_rate=44_100)),
        ]

    in_pieces, at_once = run(parts, scenario)
    assert len(in_pieces[0].speech_tokens) == 63
    assert in_pieces[0] == at_once[0]
    assert in_pieces[-1].reply_ids == at_once[-1].reply_ids


def test_the_prompt_is_computed_while_the_user_speaks(parts, monkeypatch):
    waveform, n_computed = tone(5.0, 16_000), []
    compute = ModelRunner.run

    def counted(runner, rows):
        hidden = compute(runner, rows)
        n_computed.append(len(rows[0].token_ids))
        return hidden

    async def speech(warm_ups):
        yield waveform
        await asyncio.to_thread(wait_until, lambda: n_computed and not warm_ups)
        n_computed.append("end")

    async def scenario(pipeline):
        monkeypatch.setattr(ModelRunner, "run", counted)  # after the engine has tried itself out
        heard = speech(pipeline._engine._scheduler._warm_ups)
        events = await ask(pipeline, Session(), UserTurn(speech=heard, sample_rate=16_000))
        ahead, [first, *_] = split_at(n_computed, "end")
        n_computed.clear()
        spoken = UserTurn(waveform=waveform, sample_rate=16_000)
        expected = await ask(pipeline, Session(), spoken)
        n_prompt = sum(itertools.takewhile(lambda n: n > 1, n_computed))
        assert first < n_prompt / 4
        assert sum(ahead) + first >= n_prompt
        return events, expected

    events, expected = run(parts, scenario)
    assert events[-1].reply_ids == expected[-1].reply_ids


def split_at(items, end):
    """What lies before an item, and what after it."""
    place = items.index(end)
    return items[:place], items[place + 1 :]


def test_a_streamed_reply_is_as_long_as_an_offline_one(parts):
    async def scenario(pipeline):
        return await ask(pipeline, Session(), UserTurn(text="hello"))

    events = run(parts, scenario)
    codes = [c for e in events if isinstance(e, AudioChunk) for c in e.speech_tokens]
    assert len(codes) == events[-1].n_audio_tokens
    assert len(sound_of(events)) == len(parts.decoder.decode(codes))


def test_the_same_seed_gives_the_same_reply(parts):
    options = TurnOptions(temperature=1.0, top_p=0.95, max_new_tokens=40, seed=5)

    async def scenario(pipeline):
        return [await ask(pipeline, Session(), UserTurn(text="hi"), options) for _ in range(2)]

    first, second = run(parts, scenario)
    assert first[-1].reply_ids == second[-1].reply_ids


def test_history_changes_the_answer_and_reuse_does_not(parts):
    async def scenario(pipeline):
        session = Session()
        await ask(pipeline, session, UserTurn(text="one"))
        reused = await ask(pipeline, session, UserTurn(text="two"))
        copy = Session()
        copy.append(session.turns[0])
        return [
            reused,
            await ask(pipeline, copy, UserTurn(text="two")),
            await ask(pipeline, Session(), UserTurn(text="two")),
        ]

    reused, fresh, alone = run(parts, scenario)
    assert reused[-1].reply_ids == fresh[-1].reply_ids
    assert reused[-1].reply_ids != alone[-1].reply_ids


def test_stopping_frees_the_engine_and_keeps_what_was_said(parts):
    session = Session()

    async def scenario(pipeline):
        events = []
        options = TurnOptions(temperature=0.0, max_new_tokens=10**9)
        async for event in pipeline.respond(session, UserTurn(text="hello"), options):
            events.append(event)
            if isinstance(event, AudioChunk):
                session.cancel()
        return events

    events = run(parts, scenario)
    done = events[-1]
    assert done.stop_reason == "cancelled"
    assert session.turns[0].reply_ids == done.reply_ids
    assert done.audio_s == pytest.approx(done.n_audio_tokens / 12.5, abs=0.02)


def test_a_huge_limit_ends_with_the_context(parts):
    options = TurnOptions(max_new_tokens=10**9, speak=False, seed=1)

    async def scenario(pipeline):
        return await ask(pipeline, Session(), UserTurn(text="a " * 700), options)

    done = run(parts, scenario)[-1]
    assert done.stop_reason == "length"


@pytest.mark.parametrize(
    ("user_turn", "words"),
    [
        (UserTurn(text="a " * 5000), "takes 1024"),
        (UserTurn(waveform=np.zeros(0, np.float32), sample_rate=16_000), "no samples"),
        (UserTurn(waveform=np.full(999, np.nan, np.float32), sample_rate=16_000), "NaN"),
        (UserTurn(waveform=np.zeros((0, 99), np.float32), sample_rate=16_000), ""),
        (UserTurn(waveform=np.zeros(16_000 * 1200, np.float32), sample_rate=16_000), "20:00"),
    ],
)
def test_bad_input_fails_in_words(parts, user_turn, words):
    async def scenario(pipeline):
        return await ask(pipeline, Session(), user_turn)

    events = run(parts, scenario)
    assert isinstance(events[-1], TurnFailed)
    assert words in events[-1].message


@pytest.mark.parametrize("n_samples", [1, 16_000])
def test_a_tiny_or_silent_clip_is_still_answered(parts, n_samples):
    async def scenario(pipeline):
        silence = UserTurn(waveform=np.zeros(n_samples, np.float32), sample_rate=16_000)
        return await ask(pipeline, Session(), silence)

    assert isinstance(run(parts, scenario)[-1], TurnDone)


def test_the_command_answers_a_clip_and_a_text(tiny_checkpoints, clip, tmp_path, capsys):
    out = tmp_path / "replies"
    arguments = ["ask", str(clip), "hello", "--json", "--out", str(out), "--device", "cpu"]
    options = ["--model", str(tiny_checkpoints), "--max-new-tokens", "50", "--temperature", "0"]
    assert cli.main([*arguments, *options]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 2
    for number, record in enumerate(records, start=1):
        info = soundfile.info(out / f"reply-{number}.wav")
        assert info.samplerate == 22_050
        assert record["audio_s"] == pytest.approx(info.duration, abs=1e-3)
        assert record["tokens"] == 50
        timings = record["timings"]
        assert 0 < timings["tokenise_s"] < timings["first_audio_s"] <= timings["total_s"]


@pytest.mark.parametrize("name", ["empty.wav", "corrupt.wav", "text.mp3", "folder.wav", "gone.wav"])
def test_the_command_refuses_bad_clips_in_one_line(tiny_checkpoints, tmp_path, capsys, name):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "corrupt.wav").write_bytes(b"RIFF\x10\x00\x00\x00WAVEjunkjunk")
    (tmp_path / "text.mp3").write_text("This is not sound. " * 50)
    (tmp_path / "folder.wav").mkdir()
    options = ["--model", str(tiny_checkpoints), "--no-warm-up", "--device", "cpu"]
    assert cli.main(["ask", str(tmp_path / name), *options]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("antiphon: ")
    assert captured.err.count("\n") == 1
    assert name in captured.err


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("lm", "model.safetensors"),
        ("lm", "tokenizer.model"),
        ("tokenizer", "model.safetensors"),
        ("decoder", "flow.pt"),
        ("decoder", "config.yaml"),
    ],
)
@pytest.mark.parametrize("is_truncated", [False, True])
def test_the_command_names_a_damaged_checkpoint(
    tiny_checkpoints, tmp_path, capsys, part, file, is_truncated
):
    shutil.copytree(tiny_checkpoints / part, tmp_path / part)
    damaged = tmp_path / part / file
    content = damaged.read_bytes()
    damaged.unlink()
    if is_truncated:
        damaged.write_bytes(content[: len(content) // 2])
    options = ["--model", str(tiny_checkpoints), f"--{part}", str(tmp_path / part)]
    assert cli.main(["ask", "hi", *options, "--device", "cpu"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("antiphon: ")
    assert str(tmp_path / part) in err


def test_a_model_server_gives_the_same_reply(tiny_checkpoints, clip, capsys):
    served = ServerConfig(model_path=str(tiny_checkpoints / "lm"), device="cpu")
    options = ["--model", str(tiny_checkpoints), "--max-new-tokens", "40", "--device", "cpu"]
    here = ["ask", str(clip), *options, "--seed", "3", "--temperature", "1"]
    assert cli.main(here) == 0
    expected = capsys.readouterr().out
    engine, tokenizer = load_engine(served)
    with serve_app(create_app(served, engine, tokenizer)) as url:
        assert cli.main([*here, "--server", url]) == 0
    assert capsys.readouterr().out == expected


def test_a_server_that_dies_in_the_middle_is_one_line(tiny_checkpoints, capsys):
    tokens = [b'{"token_id": %d, "error_code": 0}\n' % token_id for token_id in b"Well"]
    options = ["--model", str(tiny_checkpoints), "--device", "cpu", "--no-warm-up"]
    with serve_bytes(lambda connection: send_lines(connection, *tokens)) as url:
        assert cli.main(["ask", "hi", *options, "--server", url]) == 1
    captured = capsys.readouterr()
    assert captured.out == "Well\n"
    assert captured.err.count("\n") == 1
    assert "went away after 4 tokens" in captured.err


def test_an_error_line_of_the_server_is_one_line(tiny_checkpoints, capsys):
    line = b'{"text": "the GPU is on fire", "error_code": 1}\n'
    options = ["--model", str(tiny_checkpoints), "--device", "cpu", "--no-warm-up"]
    with serve_bytes(lambda connection: send_lines(connection, line)) as url:
        assert cli.main(["ask", "hi", *options, "--server", url]) == 1
    err = capsys.readouterr().err
    assert "the GPU is on fire" in err
    assert err.count("\n") == 1


def test_the_command_says_that_a_server_is_down(tiny_checkpoints, capsys):
    options = ["--model", str(tiny_checkpoints), "--server", "http://127.0.0.1:9"]
    assert cli.main(["ask", "hi", *options, "--device", "cpu"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "127.0.0.1:9" in err
