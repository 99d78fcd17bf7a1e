"""Processes that learn together have the same weights and one log."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from antiphon.errors import ConfigError, TrainingError
from antiphon.training.together import Group, learn_together
from antiphon.training.tokenizer_config import TokenizerTaskConfig
from antiphon.training.tokenizer_data import Batch
from antiphon.training.tokenizer_task import TokenizerTask, train
from speech_tokenizer import SpeechTokenizer

N_SAMPLES = 16_000


def exchange(folder: Path, group: Group) -> None:
    """Exchange what differs, and write down what came."""
    both, first_only = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2))
    fixed = nn.Parameter(torch.zeros(1), requires_grad=False)
    both.grad = torch.full((3,), float(group.rank + 1))
    if group.leads:
        first_only.grad = torch.full((2, 2), 4.0)
    group.average_gradients([both, first_only, fixed])
    told = torch.full((2,), float(group.rank + 5))
    group.follow([told])
    assert first_only.grad is not None and fixed.grad is None
    found = [both.grad.tolist(), first_only.grad.tolist(), told.tolist(), group.agree(group.rank)]
    (folder / f"{group.rank}.json").write_text(json.dumps(found))


def fail_second(group: Group) -> None:
    if group.rank == 1:
        raise ValueError("no such luck")
    group.agree(1.0)


def test_two_processes_average_follow_and_agree(tmp_path: Path) -> None:
    learn_together(partial(exchange, tmp_path), 2)
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert found[0] == found[1] == [[1.5] * 3, [[2.0] * 2] * 2, [5.0] * 2, 0.0]


def test_alone_nothing_is_exchanged(tmp_path: Path) -> None:
    learn_together(partial(exchange, tmp_path), 1)
    assert json.loads((tmp_path / "0.json").read_text()) == [
        [1.0] * 3,
        [[4.0] * 2] * 2,
        [5.0] * 2,
        0,
    ]


def test_a_process_that_fails_ends_all_and_is_told() -> None:
    with pytest.raises(TrainingError, match="one of 2 processes failed: ValueError: no such luck"):
        learn_together(fail_second, 2)


@pytest.fixture
def config(tmp_path: Path) -> TokenizerTaskConfig:
    """A tiny tokenizer, with a dozen questions of noise."""
    data = tmp_path / "data"
    data.mkdir()
    rng, rows = np.random.default_rng(0), []
    with (data / "audio.bin").open("wb") as audio:
        for number in range(12):
            n = N_SAMPLES + 640 * number
            start = audio.tell() // 2
            audio.write((3000 * rng.standard_normal(n)).astype(np.int16).tobytes())
            row = {"id": str(number), "text": "hello", "voice": "v", "skill": "s", "start": start}
            split = "valid" if number == 11 else "train"
            rows.append(row | {"role": "question", "split": split, "n": n})
    (data / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TokenizerTaskConfig(
        data=str(data),
        run=str(tmp_path / "run"),
        out=str(tmp_path / "tokenizer"),
        max_steps=6,
        batch_s=4.0,
        d_model=32,
        n_layers=2,
        n_heads=2,
        n_mels=20,
        codebook_size=8,
        quantise_from=0.5,
        use_muon=True,
        use_bf16=False,
        validate_every=3,
    )


def train_and_keep(config: TokenizerTaskConfig, group: Group) -> None:
    """Train, then keep the weights of this process and how long what it heard was."""
    task = TokenizerTask(config)
    task.group = group
    draw, heard = task.next_batch, []

    def next_batch() -> Batch:
        batch = draw()
        heard.append(batch.mask.sum(-1).tolist())
        return batch

    task.next_batch = next_batch  # type: ignore[method-assign]
    task.train()
    kept = {"weights": task.model.state_dict(), "heard": heard}
    torch.save(kept, Path(config.run) / f"kept-{group.rank}.pt")


def test_a_tokenizer_that_two_processes_train_is_one(config: TokenizerTaskConfig) -> None:
    learn_together(partial(train_and_keep, config), 2)
    run = Path(config.run)
    first, second = (torch.load(run / f"kept-{r}.pt", weights_only=True) for r in range(2))
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name
    assert first["heard"] != second["heard"]  # each its own utterances
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "valid_cer" in line] == [3, 6, 6]
    assert len(SpeechTokenizer.from_pretrained(config.out).encode(torch.randn(N_SAMPLES), 16_000))


def test_processes_are_for_a_processor(config: TokenizerTaskConfig) -> None:
    with pytest.raises(ConfigError, match="n_processes=2 is for device=cpu, not cuda"):
        train(replace(config, n_processes=2, device="cuda"))


def test_the_setting_starts_them_and_a_run_goes_on(config: TokenizerTaskConfig) -> None:
    train(replace(config, n_processes=2))
    train(replace(config, n_processes=2, max_steps=9))
    lines = (Path(config.run) / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 9
