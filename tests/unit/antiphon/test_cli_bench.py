"""`antiphon bench`: usage, a run on the embedded model, and no GPU."""

import json

import numpy as np
import pytest
import torch

from antiphon import cli, cli_bench
from antiphon.audio import write_wav


@pytest.mark.parametrize("name", cli_bench.BENCHMARKS)
def test_every_benchmark_has_its_help(name, capsys):
    with pytest.raises(SystemExit) as ending:
        cli.main(["bench", name, "--help"])
    assert ending.value.code == 0
    assert "--out" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["speed"], ["load", "--colour", "red"]])
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ending:
        cli.main(["bench", *arguments])
    assert ending.value.code == 2
    assert "usage: antiphon bench" in capsys.readouterr().err


def test_a_run_on_the_embedded_model(tmp_path, capsys):
    clip = tmp_path / "question.wav"
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    write_wav(clip, noise, 16_000)
    arguments = ["turns", "--turns", "2", "--max-new-tokens", "5", "--clips", str(clip)]
    assert cli.main(["bench", *arguments, "--out", str(tmp_path / "out")]) == 0
    assert "| turn | prompt tokens |" in capsys.readouterr().out
    report = json.loads((tmp_path / "out/turns.json").read_text())
    assert report["command"].startswith("antiphon bench turns --turns 2 ")
    assert len(report["tables"]["turns"]) == 2
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".md", ".png"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["load", "--rates", "0"], "--rates 0.0 must be a number above 0"),
        (["turns", "--clips", "nowhere.wav"], "nowhere.wav"),
        (["turns", "--n-clips", "0"], "--n-clips"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(arguments, words, tmp_path, capsys):
    assert cli.main(["bench", *arguments, "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("antiphon: ")
    assert error.count("\n") == 1


def test_gpu_is_refused_without_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cli.main(["bench", "gpu", "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("antiphon: antiphon bench gpu needs a CUDA device")
    assert error.count("\n") == 1
