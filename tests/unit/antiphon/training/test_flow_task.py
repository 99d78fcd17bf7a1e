"""The decoder's training on a corpus of tones: it learns, resumes, exports what loads."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from antiphon.checkpoints import load_strict, load_weights
from antiphon.errors import ConfigError
from antiphon.training.data import CodeStore
from antiphon.training.flow_data import Cut, FlowSource, build_flow_store, mel_frames
from antiphon.training.flow_task import FlowTask, FlowTaskConfig, train
from cosyvoice.config import load_decoder_config

VOICE = "tone:low"
N_TOKENS = (9, 14, 20, 26)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "speech"
    folder.mkdir()
    rng = np.random.default_rng(1)
    codes, start = [], 0
    with (folder / "audio.bin").open("wb") as audio, (folder / "index.jsonl").open("w") as index:
        for number, n_tokens in enumerate(N_TOKENS):
            tokens = rng.integers(0, 8, n_tokens)
            pitch = np.repeat(200 + 100 * tokens, 1280)
            waveform = 8000 * np.sin(2 * np.pi * np.cumsum(pitch) / 16000)
            audio.write(waveform.astype(np.int16).tobytes())
            entry = {"id": f"a{number}", "text": "", "voice": VOICE, "skill": "", "role": "answer"}
            entry |= {"split": "train", "start": start, "n": len(waveform)}
            index.write(json.dumps(entry) + "\n")
            codes.append((f"a{number}", tokens.astype(np.int16)))
            start += len(waveform)
    CodeStore(folder).append(codes)
    return folder


@pytest.fixture
def config(corpus: Path, tmp_path: Path) -> FlowTaskConfig:
    return FlowTaskConfig(
        data=str(corpus),
        run=str(tmp_path / "run"),
        out=str(tmp_path / "out"),
        voice=VOICE,
        max_steps=6,
        n_threads=0,
        batch=2,
        longest_cut=10,
        validate_every=3,
        n_timesteps=2,
        vocab_size=8,
        width=16,
        encoder_heads=2,
        linear_units=16,
        encoder_layers=1,
        channels=(8, 8),
        head_dim=4,
        n_mid_blocks=1,
    )


def test_mels_are_cut_at_their_tokens(corpus: Path, tmp_path: Path) -> None:
    store = build_flow_store(FlowSource(str(corpus), VOICE, (), 10, 8), tmp_path / "store")
    assert len(store) == len(N_TOKENS)
    assert np.diff(store.frame_bounds).tolist() == [mel_frames(n) for n in N_TOKENS]
    whole, part = Cut(3, 0, 26), Cut(3, 5, 12)
    assert np.array_equal(store.cut_codes(part), store.cut_codes(whole)[5:17])
    first = mel_frames(5)
    assert np.array_equal(store.cut_mel(part), store.cut_mel(whole)[first : first + mel_frames(12)])


def test_drawn_cuts_lie_within_their_utterances(corpus: Path, tmp_path: Path) -> None:
    store = build_flow_store(FlowSource(str(corpus), VOICE, (), 10, 8), tmp_path / "store")
    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        cuts = store.draw_cuts(range(1, 4), 3, 16, generator)
        assert len({cut.n for cut in cuts}) == 1
        assert all(0 <= cut.first <= N_TOKENS[cut.utterance] - cut.n for cut in cuts)
        assert all(1 <= cut.utterance < 4 for cut in cuts)


def test_tokens_beyond_the_vocabulary_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vocab_size is 4"):
        build_flow_store(FlowSource(str(corpus), VOICE, (), 10, 4), tmp_path / "store")


def test_other_voices_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tone:high"):
        build_flow_store(FlowSource(str(corpus), "tone:high", (), 10, 8), tmp_path / "store")


def test_training_exports_what_the_loader_takes(config: FlowTaskConfig) -> None:
    train(config)
    out = Path(config.out)
    flow = load_decoder_config(out / "config.yaml").flow
    load_strict(flow, load_weights(out / "flow.pt"), "flow.pt")
    assert flow.input_embedding.num_embeddings == 8
    lines = (Path(config.run) / "metrics.jsonl").read_text().splitlines()
    assert "valid_mel" in json.loads(lines[-1])
    assert (Path(config.run) / "loss.png").stat().st_size > 0


def test_training_resumes(config: FlowTaskConfig) -> None:
    train(config)
    task = FlowTask(replace(config, max_steps=8))
    task.resume()
    assert task.run.step == 6
    task.train()
    assert task.run.step == 8


def test_training_learns(config: FlowTaskConfig) -> None:
    task = FlowTask(replace(config, max_steps=60, learning_rate=1e-2, token_noise=0.0))
    task.model.train()
    losses = [float(task.step()["prior"].detach()) for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


def test_skills_with_few_answers_are_heard_more_often_than_one_by_one(
    corpus: Path, tmp_path: Path
) -> None:
    source = FlowSource(str(corpus), VOICE, (), 10, 8)
    index = [json.loads(line) for line in (corpus / "index.jsonl").read_text().splitlines()]
    for number, entry in enumerate(index):
        entry["skill"] = "sounds" if number == 2 else "repeat"  # one of 20 tokens; three others
    (corpus / "index.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in index))
    store = build_flow_store(source, tmp_path / "store")
    rare = list(store.n_tokens).index(20)
    generator = torch.Generator().manual_seed(1)
    cuts = [cut for _ in range(200) for cut in store.draw_cuts(range(len(store)), 4, 5, generator)]
    counts = np.bincount([cut.utterance for cut in cuts]) / len(cuts)
    wanted = 1 / (1 + 3**0.5)  # as the root of one to that of three
    assert counts[rare] == pytest.approx(wanted, abs=0.05)
    others = np.delete(counts, rare)
    assert others == pytest.approx(np.full(3, (1 - wanted) / 3), abs=0.05)


def test_a_decoder_goes_on_with_more_frames_of_a_token(config: FlowTaskConfig) -> None:
    train(config)
    finished = replace(config, start=config.out, run=f"{config.run}-2", out=f"{config.out}-2")
    same, more = FlowTask(finished), FlowTask(replace(finished, frames_per_token=7))
    for task in (same, more):
        task.resume()
    assert more.model.encoder_proj.out_features == 7 * same.model.encoder_proj.out_features
    given = (torch.arange(8)[None], torch.tensor([8]), torch.zeros(1, 192))
    torch.testing.assert_close(more.model.condition(*given).mu, same.model.condition(*given).mu)
    more.export()
    decoder = load_decoder_config(Path(more.config.out) / "config.yaml").build_flow()
    load_strict(decoder, load_weights(Path(more.config.out) / "flow.pt"), "flow.pt")
    assert decoder.frames_per_token == 7
