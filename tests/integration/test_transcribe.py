"""`antiphon transcribe` on the embedded tokenizer: spoken sums come back as words."""

import json
from pathlib import Path

import numpy as np
import pytest

from antiphon import cli
from antiphon.audio import write_wav
from antiphon.training.recogniser import edit_distance
from antiphon.training.synthesis import SAMPLE_RATE, say

SENTENCE = "what is seven plus twenty two"
SENTENCES = (
    "what is three plus four",
    "spell the word dog",
    "what is the capital of Italy",
    "repeat after me, window chair",
    "count from two to nine",
)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "sum.wav"
    write_wav(path, say(SENTENCE, "flite:slt"), SAMPLE_RATE)
    return path


def test_a_spoken_sum_is_written_down(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["transcribe", str(clip)]) == 0
    text = capsys.readouterr().out.strip()
    assert edit_distance(SENTENCE, text) <= len(SENTENCE) // 5


def test_the_letter_model_mends_what_the_tokens_leave_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = []
    for number, sentence in enumerate(SENTENCES):
        clips.append(str(tmp_path / f"{number}.wav"))
        write_wav(Path(clips[-1]), say(sentence, "espeak-ng:en-us+f4"), SAMPLE_RATE)

    def n_errors(*flags: str) -> int:
        assert cli.main(["transcribe", *flags, *clips]) == 0
        lines = capsys.readouterr().out.splitlines()
        return sum(map(edit_distance, SENTENCES, lines))

    assert n_errors() < n_errors("--greedy")


@pytest.mark.parametrize("loudness", [0.0, 0.01, 0.1])
def test_noise_is_no_text(
    loudness: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = loudness * np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE)
    write_wav(tmp_path / "noise.wav", noise.astype(np.float32), SAMPLE_RATE)
    assert cli.main(["transcribe", str(tmp_path / "noise.wav")]) == 0
    assert capsys.readouterr().out == "\n"


def test_json_names_file_and_tokens(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["transcribe", "--json", str(clip)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["file"] == str(clip)
    assert set(record) == {"file", "text", "tokens"}
    assert all(0 <= token < 2048 for token in record["tokens"])


def test_a_missing_clip_is_told_and_the_others_are_read(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["transcribe", str(tmp_path / "none.wav"), str(clip)]) == 1
    captured = capsys.readouterr()
    assert "none.wav" in captured.err
    assert captured.out.strip()


def test_a_tokenizer_without_recogniser_is_refused(
    clip: Path, parity_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = parity_dir / "public" / "tokenizer"
    assert cli.main(["transcribe", "--tokenizer", str(folder), str(clip)]) == 1
    assert "recogniser.safetensors is missing" in capsys.readouterr().err
