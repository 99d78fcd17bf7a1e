"""Settings of the tokenizer task that change its encoder, and what it may start from."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from antiphon.errors import CheckpointError, ConfigError
from antiphon.training.optimizers import OptimizerPair
from antiphon.training.tokenizer_config import TokenizerTaskConfig, encoder_config
from antiphon.training.tokenizer_task import TokenizerTask
from speech_tokenizer import SpeechTokenizer

N_SAMPLES = 16_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight questions of noise; two are held out, one of them in a voice kept for testing."""
    folder = tmp_path_factory.mktemp("data")
    rng, rows = np.random.default_rng(0), []
    with (folder / "audio.bin").open("wb") as audio:
        for number, split in enumerate(["train"] * 6 + ["valid", "reserved"]):
            start = number * N_SAMPLES
            audio.write((3000 * rng.standard_normal(N_SAMPLES)).astype(np.int16).tobytes())
            row = {"id": str(number), "text": "hello", "voice": "espeak-ng:en-us+f4"}
            row |= {"skill": "s", "role": "question", "split": split}
            rows.append(row | {"start": start, "n": N_SAMPLES})
    (folder / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def config(data: Path, tmp_path: Path) -> TokenizerTaskConfig:
    return TokenizerTaskConfig(
        data=str(data),
        run=str(tmp_path / "run"),
        out=str(tmp_path / "tokenizer"),
        max_steps=4,
        batch_s=4.0,
        d_model=32,
        n_layers=3,
        n_fast_layers=1,
        n_heads=2,
        n_mels=20,
        codebook_size=8,
        quantise_from=0.5,
        look_nearby=2.0,
        dropout=0.0,
        use_muon=True,
        use_bf16=False,
        validate_every=4,
    )


def metrics(config: TokenizerTaskConfig) -> dict[str, float]:
    lines = (Path(config.run) / "metrics.jsonl").read_text().splitlines()
    return {key: value for line in lines for key, value in json.loads(line).items()}


def test_it_trains_validates_and_exports_what_the_tokenizer_loads(
    config: TokenizerTaskConfig,
) -> None:
    task = TokenizerTask(config)
    assert isinstance(task.optimizer, OptimizerPair)
    task.train()
    assert {"valid_cer", "reserved_cer"} <= set(metrics(config))
    tokenizer = SpeechTokenizer.from_pretrained(config.out)
    assert tokenizer.model.config.pooling_position == 1
    assert len(tokenizer.encode(torch.randn(N_SAMPLES), 16_000)) == 13


def test_a_stopped_run_takes_up_weights_and_both_optimizers(config: TokenizerTaskConfig) -> None:
    TokenizerTask(config).train()
    resumed, fresh = TokenizerTask(config), TokenizerTask(replace(config, run=config.run + "-new"))
    resumed.resume()
    muon, adamw = resumed.optimizer.state_dict()["parts"]
    assert muon["state"] and adamw["state"]
    assert resumed.run.step == 4
    assert resumed.is_quantised and not fresh.is_quantised


def test_dropout_is_the_recognisers(config: TokenizerTaskConfig) -> None:
    for dropout in (0.0, 0.25):
        model = TokenizerTask(replace(config, dropout=dropout)).model
        found = {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
        assert found == {dropout}


@pytest.mark.parametrize("n_fast_layers", [-1, 4])
def test_a_pooling_after_no_layer_is_refused(n_fast_layers: int) -> None:
    with pytest.raises(ConfigError, match=rf"n_fast_layers={n_fast_layers} .*0 to n_layers=3"):
        encoder_config(TokenizerTaskConfig(n_layers=3, n_fast_layers=n_fast_layers))


def test_without_fast_layers_the_pooling_comes_last() -> None:
    assert encoder_config(TokenizerTaskConfig(n_layers=3)).pooling_position == 3


def test_it_starts_from_an_exported_tokenizer_of_the_same_size(
    config: TokenizerTaskConfig,
) -> None:
    TokenizerTask(config).train()
    again = replace(config, run=config.run + "-again", start=config.out)
    task = TokenizerTask(again)
    task.resume()
    exported = SpeechTokenizer.from_pretrained(config.out).model.state_dict()
    for name, value in task.model.encoder.state_dict().items():
        assert torch.equal(value, exported[name]), name


@pytest.mark.parametrize("new_codes", [False, True])
def test_codes_go_on_unless_they_shall_be_new(config: TokenizerTaskConfig, new_codes: bool) -> None:
    TokenizerTask(config).train()
    again = replace(
        config, run=config.run + "-again", start=config.out, new_codes=new_codes, quantise_from=0.0
    )
    task = TokenizerTask(again)
    task.resume()
    before = task.model.encoder.codebook.weight.clone()
    task.before_step()
    assert task.is_quantised
    assert torch.equal(task.model.encoder.codebook.weight, before) == (not new_codes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"d_model": 64}, r"of another shape.*conv1.*expected \(64"),
        ({"n_layers": 2}, "unexpected: layers.2"),
        ({"codebook_size": 16}, "of another shape: ema_count"),
        ({"n_fast_layers": 2}, "set n_fast_layers=1"),
        ({"domain": "full"}, "of another shape: head.weight"),
    ],
)
def test_another_size_is_no_start(
    config: TokenizerTaskConfig, change: dict[str, object], words: str
) -> None:
    TokenizerTask(config).train()
    other = replace(config, run=config.run + "-other", start=config.out, **change)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=f"start=.*{words}"):
        TokenizerTask(other).resume()
