"""The command line: usage, exit codes, what `ask` prints and writes; on a stand-in pipeline."""

import asyncio
import importlib
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from antiphon import cli, cli_ask, cli_train
from antiphon.audio import write_wav
from antiphon.dialogue.turn_pipeline import TurnPipeline
from antiphon.errors import ServerConnectionError
from antiphon.training.task_config import load_task_config, recipe_names
from tests.dialogue_fakes import (
    LAYOUT,
    SAMPLES_PER_TOKEN,
    ByteTokenizer,
    FakeDecoder,
    FakeEngine,
    FakeSpeechTokenizer,
    audio_ids,
    tone,
)

REPLY = [*b"It is five.", *audio_ids(*range(20)), LAYOUT.user]


@pytest.fixture
def bench(monkeypatch):
    """Replace the model; returns what was asked of it."""

    bench = SimpleNamespace(engine=FakeEngine(REPLY), choices=[])

    def load_parts(choice):
        bench.choices.append(choice)
        return "parts"

    @asynccontextmanager
    async def open_pipeline(bundle, server):
        pipeline = TurnPipeline(bench.engine, ByteTokenizer(), FakeSpeechTokenizer(), FakeDecoder())
        yield pipeline
        pipeline.close()

    monkeypatch.setattr("antiphon.assembly.load_parts", load_parts)
    monkeypatch.setattr("antiphon.assembly.open_pipeline", open_pipeline)
    return bench


@pytest.fixture
def clip(tmp_path):
    """A clip of 0.8 s."""
    path = tmp_path / "question.wav"
    write_wav(path, tone(0.8), 16_000)
    return path


@pytest.mark.parametrize("arguments", [[], ["dance"], ["ask"], ["ask", "hi", "--colour", "red"]])
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ending:
        cli.main(arguments)
    assert ending.value.code == 2
    assert "usage: antiphon" in capsys.readouterr().err


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ending:
        cli.main(["--help"])
    assert ending.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in cli.SUBCOMMANDS)


def test_help_does_not_import_torch():
    code = (
        "import sys\nfrom antiphon import cli, cli_ask, cli_bench, cli_train\n"
        "for module in (cli, cli_ask, cli_bench, cli_train): module.build_parser().format_help()\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_python_m_antiphon_is_the_command():
    command = [sys.executable, "-m", "antiphon", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("antiphon ")


def test_a_typed_question(bench, capsys):
    assert cli.main(["ask", "What is two plus three?"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "It is five.\n"
    assert captured.err == ""


def test_one_unheard_question_warms_up_first(bench):
    cli.main(["ask", "hi"])
    assert len(bench.engine.prompts) == 2
    assert bench.engine.samplings[0].max_new_tokens == 40
    cli.main(["ask", "hi", "--no-warm-up"])
    assert len(bench.engine.prompts) == 3


def test_a_clip_becomes_speech_tokens_and_a_wav_file(bench, clip, tmp_path, capsys):
    out = tmp_path / "reply.wav"
    assert cli.main(["ask", str(clip), "--out", str(out)]) == 0
    prompt = bench.engine.prompts[-1]
    assert prompt.index(LAYOUT.end_of_audio) - prompt.index(LAYOUT.begin_of_audio) == 11
    waveform, rate = soundfile.read(out)
    assert (len(waveform), rate) == (20 * SAMPLES_PER_TOKEN, 22_050)
    expected = np.repeat(np.arange(20) / 100, SAMPLES_PER_TOKEN)
    np.testing.assert_allclose(waveform, expected, atol=1e-4)


def test_json_is_one_object_a_line_with_keys_in_order(bench, clip, tmp_path, capsys):
    arguments = ["ask", str(clip), "hello", "--json", "--out", str(tmp_path / "reply.wav")]
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines, start=1):
        record = json.loads(line)
        assert list(record)[:5] == ["text", "audio_s", "rtf", "tokens", "timings"]
        names = ["tokenise_s", "prefill_s", "first_text_s", "first_audio_s", "total_s"]
        assert list(record["timings"]) == names
        assert record["text"] == "It is five."
        assert record["audio_s"] == 1.6
        assert record["tokens"] == 31
        assert 0 < record["timings"]["first_audio_s"] <= record["timings"]["total_s"]
        assert record["rtf"] == pytest.approx(record["timings"]["total_s"] / 1.6, abs=2e-4)
        assert record["out"] == str(tmp_path / f"reply-{number}.wav")
        assert soundfile.info(record["out"]).frames == 20 * SAMPLES_PER_TOKEN


def test_several_questions_do_not_know_each_other(bench):
    cli.main(["ask", "one", "two", "--no-warm-up"])
    first, second = bench.engine.prompts
    assert first.count(LAYOUT.user) == second.count(LAYOUT.user) == 1
    assert len(set(bench.engine.session_ids)) == 2


def test_a_bad_clip_fails_alone(bench, tmp_path, capsys):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF nothing")
    assert cli.main(["ask", "gone.wav", str(broken), "hello", "--json"]) == 1
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert [set(record) == {"error"} for record in records] == [True, True, False]
    errors = captured.err.splitlines()
    assert len(errors) == 2
    assert "gone.wav" in errors[0]
    assert "Traceback" not in captured.err


def test_a_server_that_is_down_is_one_line(bench, capsys):
    bench.engine = FakeEngine(REPLY, error_at=0, error=ServerConnectionError("no answer"))
    assert cli.main(["ask", "hi"]) == 1
    assert capsys.readouterr().err == "antiphon: no answer\n"


def test_a_reply_without_sound_writes_no_file(bench, tmp_path, capsys):
    bench.engine = FakeEngine([*b"quiet", LAYOUT.user])
    out = tmp_path / "reply.wav"
    assert cli.main(["ask", "hi", "--json", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    assert (record["audio_s"], record["rtf"], record["out"]) == (0.0, None, None)
    assert "no sound" in captured.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--max-new-tokens", "0"], "at least 1"), (["--top-p", "2"], "top_p")],
)
def test_impossible_options_are_one_line(bench, capsys, flags, words):
    assert cli.main(["ask", "hi", *flags]) == 1
    err = capsys.readouterr().err
    assert err.startswith("antiphon: ")
    assert words in err
    assert err.count("\n") == 1
    assert bench.choices == []


def test_flags_reach_model_and_engine(bench):
    flags = ["--lm", "a", "--tokenizer", "b", "--decoder", "c", "--server", "http://x"]
    sampling = ["--temperature", "0", "--top-p", "1", "--max-new-tokens", "9", "--seed", "4"]
    cli.main(["ask", "hi", *flags, *sampling, "--device", "cpu", "--dtype", "bfloat16"])
    choice = bench.choices[0]
    assert (choice.lm, choice.tokenizer, choice.decoder) == ("a", "b", "c")
    assert (choice.server, choice.device, choice.dtype) == ("http://x", "cpu", "bfloat16")
    params = bench.engine.samplings[-1]
    assert (params.temperature, params.top_p, params.seed) == (0.0, 1.0, 4)
    assert params.max_new_tokens == 9


def test_ctrl_c_ends_with_130(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_ask, "main", interrupted)
    assert cli.main(["ask", "hi"]) == 130
    assert capsys.readouterr().err == "antiphon: interrupted\n"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("missing.wav", True),
        ("LOUD.MP3", True),
        ("What is two plus two?", False),
        ("a" * 5000, False),
        ("zero \0 byte", False),
    ],
)
def test_what_counts_as_a_clip(question, expected):
    assert cli_ask.is_clip(question) is expected


def test_a_file_without_ending_is_a_clip(tmp_path):
    path = tmp_path / "recording"
    path.write_bytes(b"x")
    assert cli_ask.is_clip(str(path))
    assert not cli_ask.is_clip(str(tmp_path))


def test_where_replies_go(tmp_path):
    assert cli_ask.reply_path(tmp_path / "a.wav", 1, 1) == tmp_path / "a.wav"
    assert cli_ask.reply_path(tmp_path / "a.wav", 2, 3) == tmp_path / "a-2.wav"
    assert cli_ask.reply_path(tmp_path, 1, 1) == tmp_path / "reply-1.wav"
    assert cli_ask.reply_path(tmp_path / "new", 2, 2) == tmp_path / "new" / "reply-2.wav"


def test_the_folder_of_out_is_made(tmp_path):
    cli_ask.prepare_out(tmp_path / "x" / "y" / "a.wav")
    cli_ask.prepare_out(tmp_path / "folder")
    assert (tmp_path / "x" / "y").is_dir()
    assert (tmp_path / "folder").is_dir()


def test_an_out_below_a_file_is_refused(bench, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert cli.main(["ask", "hi", "--out", str(tmp_path / "file" / "a.wav")]) == 1
    assert "--out" in capsys.readouterr().err


def test_the_answer_is_echoed_as_it_comes(capsys):
    echoed = []

    class Terminal:
        def write(self, text):
            echoed.append(text)

        def flush(self):
            pass

    async def scenario():
        pipeline = TurnPipeline(
            FakeEngine(REPLY), ByteTokenizer(), FakeSpeechTokenizer(), FakeDecoder()
        )
        user_turn = cli_ask.read_question("hi")
        await cli_ask.ask(pipeline, user_turn, None, Terminal())
        pipeline.close()

    asyncio.run(scenario())
    assert [text for text in echoed if text] == [*"It is five.", "\n"]


def test_train_shows_its_settings(capsys):
    assert cli.main(["train", "data", "--show", "--set", "n_questions=5", "seed=9"]) == 0
    shown = capsys.readouterr().out
    assert "n_questions = 5\n" in shown
    assert "seed = 9\n" in shown


def test_train_refuses_unknown_settings(capsys):
    assert cli.main(["train", "data", "--set", "colour=red"]) == 1
    assert "valid ones are out, n_questions" in capsys.readouterr().err


def test_train_hands_the_settings_to_the_task(monkeypatch):
    taken = []
    monkeypatch.setattr("antiphon.training.synthesis.synthesise", taken.append)
    monkeypatch.setattr("antiphon.cli_train.configure_logging", lambda: None)
    assert cli.main(["train", "data", "--set", "out=elsewhere"]) == 0
    assert taken[0].out == "elsewhere"


@pytest.mark.parametrize("name", sorted(cli_train.TASKS))
def test_every_task_takes_every_recipe_of_the_package(name):
    task = cli_train.TASKS[name]
    module = importlib.import_module(f"antiphon.training.{task.module}")
    config = getattr(module, task.config)
    assert callable(getattr(module, task.function))
    assert load_task_config(config, name, None, []) == config()
    prefixes = (name, task.module.removesuffix("_task"))
    recipes = [recipe for recipe in recipe_names() if recipe.split("-")[0] in prefixes]
    for recipe in recipes:
        load_task_config(config, name, recipe, [])


def test_train_all_shows_every_task_with_its_folders(capsys):
    arguments = ["train", "all", "--show", "--root", "there", "--set", "lm.minutes=5"]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "lm.minutes = 5.0\n" in shown
    assert "codes.tokenizer = 'there/model/tokenizer'\n" in shown
    assert "decoder.out = 'there/model/decoder'\n" in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "lm.minutes=5"], "--root"),
        (["--root", "there", "--set", "minutes=5"], "must name its task"),
        (["--root", "there", "--set", "ears.minutes=5"], "the tasks are data, tokenizer"),
    ],
)
def test_train_all_refuses_what_is_incomplete(capsys, arguments, told):
    assert cli.main(["train", "all", *arguments]) == 1
    assert told in capsys.readouterr().err


def test_a_recipe_of_the_package_is_found_by_its_short_name(capsys):
    assert cli.main(["train", "decoder", "--show", "--config", "gpu"]) == 0
    assert "device = 'cuda'\n" in capsys.readouterr().out
