"""The vocoder recipe on a toy corpus: it learns, resumes, exports in the official format."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from antiphon.errors import ConfigError
from antiphon.training.data import CodeStore
from antiphon.training.vocoder_loss import VocoderLoss
from antiphon.training.vocoder_task import VocoderTask, VocoderTaskConfig, build_vocoder, train
from flow_inference import AudioDecoder

CONFIGS = Path(__file__).resolve().parents[4] / "antiphon/training/configs"


def write_corpus(folder: Path, n_utterances: int = 6) -> None:
    """Write buzzing answers of a second each."""
    folder.mkdir()
    time = np.arange(16_000) / 16_000
    lines, audio = [], []
    for index in range(n_utterances):
        f0 = 140 + 15 * index
        wave = sum(np.cos(2 * np.pi * k * f0 * time) / k for k in range(1, 12))
        audio.append((4000 * wave * np.hanning(16_000)).astype(np.int16))
        entry = {"id": f"a{index}", "text": "hello", "voice": "flite:slt", "skill": "repeat"}
        entry |= {"role": "answer", "split": "train", "start": index * 16_000, "n": 16_000}
        lines.append(json.dumps(entry))
    np.concatenate(audio).tofile(folder / "audio.bin")
    (folder / "index.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def config(tmp_path: Path) -> VocoderTaskConfig:
    """A few steps of a tiny vocoder."""
    write_corpus(tmp_path / "speech")
    return VocoderTaskConfig(
        data=str(tmp_path / "speech"),
        run=str(tmp_path / "run"),
        out=str(tmp_path / "out"),
        minutes=5.0,
        max_steps=6,
        n_threads=0,
        batch=2,
        n_frames=16,
        base_channels=16,
        f0_channels=8,
        resblock_kernel_sizes=(3,),
        source_resblock_kernel_sizes=(3, 3),
        periods=(2, 3),
        period_channels=(4, 8),
        spectrum_n_ffts=(128,),
        spectrum_channels=4,
        validate_every=3,
    )


def test_run_resume_export(config: VocoderTaskConfig) -> None:
    train(config)
    run = Path(config.run)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["step"] == 6
    assert np.isfinite(records[-1]["valid_mel"])
    assert (run / "loss.png").stat().st_size > 1000

    state = torch.load(Path(config.out) / "hift.pt", weights_only=True)
    assert all(value.dtype == torch.float16 for value in state.values())
    build_vocoder(config).load_state_dict(state)

    train(replace(config, max_steps=8))
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 8


def test_it_learns(config: VocoderTaskConfig) -> None:
    task = VocoderTask(replace(config, max_steps=None, learning_rate=3e-3, use_bf16=False))
    batch = task.next_batch()
    task.next_batch = lambda: batch  # type: ignore[method-assign]
    losses = [float(task.step()["total"].detach()) for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]


def equal(a: object, b: object) -> bool:
    """Whether nested states hold the same numbers."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    return a == b


def test_a_run_goes_on_against_the_same_discriminators(config: VocoderTaskConfig) -> None:
    config = replace(config, adversarial_from=0.3)
    first = VocoderTask(config)
    steps = [first.step() for _ in range(4)]
    assert "discriminator" not in steps[0]
    assert {"discriminator", "discriminator_right", "adversarial", "features"} <= steps[-1].keys()
    first.run.save(first.state())

    second = VocoderTask(config)
    assert not equal(first.state(), second.state())
    second.resume()
    assert second.adversary.state()["optimizer"]["state"]  # type: ignore[index]
    assert equal(first.state(), second.state())
    first.reseed(5)
    second.reseed(5)
    first.step()
    second.step()
    assert equal(first.state(), second.state())


def test_an_old_checkpoint_without_discriminators_goes_on(config: VocoderTaskConfig) -> None:
    old = VocoderTask(replace(config, adversarial_from=1.0))
    losses = old.step()
    assert "adversarial" not in losses
    state = old.state()
    del state["adversary"]
    old.run.save(state)

    task = VocoderTask(replace(config, adversarial_from=0.0))
    task.resume()
    assert task.run.step == 1
    assert np.isfinite(float(task.step()["adversarial"].detach()))


def test_the_discriminators_move_the_vocoder(config: VocoderTaskConfig) -> None:
    """The same step with and without them ends in other weights."""
    ends = []
    for start in (0.0, 1.0):
        task = VocoderTask(replace(config, adversarial_from=start, adversarial_ramp=0.0))
        task.step()
        ends.append(task.model.state_dict())
    assert not equal(*ends)


def test_phase_follows_the_waveform(config: VocoderTaskConfig) -> None:
    """The waveform swings with the cosine of the phase that drives the excitation."""
    task = VocoderTask(config)
    batch = task.next_batch()
    steps = batch.cycles.diff(dim=1).repeat_interleave(256, dim=1) / 256
    phase = 2 * torch.pi * (batch.cycles[:, :1] + steps.cumsum(1))
    joined = torch.stack([torch.cos(phase).flatten(), batch.waveform.flatten()])
    assert float(torch.corrcoef(joined)[0, 1]) > 0.4
    assert task.aligned_source(batch).shape == (2, 1, 16 * 256)


def test_it_learns_from_what_a_decoder_makes_of_the_tokens(
    config: VocoderTaskConfig, tiny_checkpoints: Path
) -> None:
    folder = tiny_checkpoints / "decoder"
    wanted = replace(config, decoder=str(folder))
    with pytest.raises(ConfigError, match="antiphon train codes"):
        VocoderTask(wanted)
    tokens = np.arange(13, dtype=np.int16)  # a second and 40 ms
    CodeStore(config.data).append((f"a{index}", tokens + index) for index in range(5))
    store = VocoderTask(wanted).store
    assert len(store) == 5  # the sixth has no tokens
    decoder = AudioDecoder.from_pretrained(folder)
    for index in range(5):
        piece = store.cut(index, 0, store.n_frames(index))
        mel = decoder.decode_mel([*range(index, index + 13)], seed=index + 1).numpy()
        assert store.n_frames(index) == 16_000 * 22_050 // 16_000 // 256 < mel.shape[1]
        assert piece["mel"] == pytest.approx(mel[:, : store.n_frames(index)], abs=0.02)
        assert len(piece["waveform"]) == store.n_frames(index) * 256
        assert len(piece["cycles"]) == store.n_frames(index) + 1
    train(wanted)
    assert (Path(config.out) / "hift.pt").exists()
    train(replace(wanted, max_steps=8, decoder="gone"))  # what is prepared takes no decoder


def test_unknown_voice(config: VocoderTaskConfig) -> None:
    with pytest.raises(ConfigError, match="no answers in the voice"):
        VocoderTask(replace(config, voice="nobody"))


def test_loss_is_zero_for_the_target_itself() -> None:
    wave = torch.randn(1, 4096, generator=torch.Generator().manual_seed(1))
    losses = VocoderLoss(1.0, 1.0)(wave, wave)
    assert float(losses["mel"]) == 0.0
    assert float(losses["magnitude"]) < 1e-6
    assert float(VocoderLoss(1.0, 1.0)(wave * 0.5, wave)["total"]) > 0.5


@pytest.mark.parametrize("name", ["vocoder-cpu", "vocoder-gpu"])
def test_recipes_name_known_settings(name: str) -> None:
    settings = tomllib.loads((CONFIGS / f"{name}.toml").read_text())
    VocoderTaskConfig(**settings)
