"""The reading half learns on from codes that stay as they are."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from antiphon.errors import CheckpointError, ConfigError
from antiphon.training.data import CodeStore
from antiphon.training.recogniser import RECOGNISER_FILE, CodeRecogniser
from antiphon.training.recogniser_task import RecogniserTask, RecogniserTaskConfig, collate_codes
from antiphon.training.tokenizer_config import TokenizerTaskConfig
from antiphon.training.tokenizer_task import TokenizerTask

WORDS = ("one", "two", "hot", "cold")
SAMPLES_PER_CODE = 1280


def spell(word: str) -> np.ndarray:
    """Two codes a letter, as an ideal tokenizer would write it."""
    return np.repeat([ord(letter) - ord("a") for letter in word], 2).astype(np.int16)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words as codes: practice, heard twice, then one held out and one in a voice kept back."""
    folder = tmp_path_factory.mktemp("data")
    rows, codes, start = [], [], 0
    for number in range(42):
        word = WORDS[number % len(WORDS)]
        split = {40: "valid", 41: "reserved"}.get(number, "train")
        row = {"id": str(number), "text": word, "voice": "espeak-ng:en-us+f4", "skill": "s"}
        n = SAMPLES_PER_CODE * len(spell(word))
        rows.append(row | {"role": "question", "split": split, "start": start, "n": n})
        start += n
        codes.append((str(number), spell(word)))
        if split == "train":
            codes.append((f"{number}~1", np.flip(spell(word)).copy()))
    (folder / "audio.bin").write_bytes(np.zeros(start, np.int16).tobytes())
    (folder / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    CodeStore(folder).append(codes)
    return folder


@pytest.fixture(scope="module")
def tokenizer(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of 26 codes that has learned nothing."""
    folder = tmp_path_factory.mktemp("tokenizer")
    config = TokenizerTaskConfig(
        data=str(data),
        run=str(folder / "run"),
        out=str(folder / "out"),
        d_model=32,
        n_layers=1,
        n_heads=2,
        n_mels=20,
        codebook_size=26,
        use_bf16=False,
    )
    TokenizerTask(config).export()
    return folder / "out"


@pytest.fixture
def config(data: Path, tokenizer: Path, tmp_path: Path) -> RecogniserTaskConfig:
    out = tmp_path / "tokenizer"
    out.mkdir()
    for path in tokenizer.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return RecogniserTaskConfig(
        data=str(data),
        run=str(tmp_path / "run"),
        out=str(out),
        max_steps=60,
        batch_s=30.0,
        learning_rate=5e-3,
        dropout=0.0,
        validate_every=60,
        use_bf16=False,
    )


def metrics(config: RecogniserTaskConfig, name: str) -> list[float]:
    lines = (Path(config.run) / "metrics.jsonl").read_text().splitlines()
    return [record[name] for record in map(json.loads, lines) if name in record]


def test_it_reads_better_and_leaves_the_tokenizer_as_it_was(
    config: RecogniserTaskConfig, tokenizer: Path
) -> None:
    RecogniserTask(config).train()
    losses = metrics(config, "total")
    assert losses[-1] < 0.6 * losses[0]
    assert {len(metrics(config, name)) for name in ("valid_cer", "reserved_cer")} == {2}
    for path in tokenizer.glob("*"):
        is_same = path.read_bytes() == (Path(config.out) / path.name).read_bytes()
        assert is_same == (path.name != RECOGNISER_FILE), path.name
    before, after = (load_file(f / RECOGNISER_FILE) for f in (tokenizer, Path(config.out)))
    assert {k: (v.shape, v.dtype) for k, v in before.items()} == {
        k: (v.shape, v.dtype) for k, v in after.items()
    }
    assert not list(Path(config.out).glob("*.part"))


def test_all_hearings_are_drawn_and_held_out_ones_are_not(config: RecogniserTaskConfig) -> None:
    task = RecogniserTask(replace(config, noise=0.0))
    assert {record.split for record in task.records} == {"train"}
    record = next(r for r in task.records if r.text == "two")
    drawn = {tuple(task.disturbed(task.drawn(record))) for _ in range(40)}
    assert drawn == {tuple(spell("two")), tuple(np.flip(spell("two")))}


def test_noise_puts_other_codes_in_some_places(config: RecogniserTaskConfig) -> None:
    task = RecogniserTask(replace(config, noise=0.5))
    codes = np.zeros(2000, np.int16)
    changed = task.disturbed(codes)
    assert 0.4 < (changed != codes).mean() < 0.56
    assert changed.min() >= 0 and changed.max() < 26
    assert not codes.any()


def test_padding_is_masked() -> None:
    batch = collate_codes([np.array([3, 4], np.int16), np.array([5], np.int16)], ["a", "b"])
    assert batch.codes.tolist() == [[3, 4], [5, 0]]
    assert batch.mask.tolist() == [[True, True], [True, False]]


def test_a_resumed_run_goes_on(config: RecogniserTaskConfig) -> None:
    RecogniserTask(replace(config, max_steps=5)).train()
    task = RecogniserTask(config)
    task.resume()
    assert task.run.step == 5


def test_without_codes_it_says_what_to_do(config: RecogniserTaskConfig, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for name in ("audio.bin", "index.jsonl"):
        (empty / name).write_bytes((Path(config.data) / name).read_bytes())
    with pytest.raises(ConfigError, match="run `antiphon train codes` first"):
        RecogniserTask(replace(config, data=str(empty)))


def test_a_half_of_another_size_is_refused(config: RecogniserTaskConfig) -> None:
    half = CodeRecogniser(16).state_dict()
    save_file({k: torch.clone(v) for k, v in half.items()}, Path(config.out) / RECOGNISER_FILE)
    with pytest.raises(CheckpointError, match="of another size"):
        RecogniserTask(config)
