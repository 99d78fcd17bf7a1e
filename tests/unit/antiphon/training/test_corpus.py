"""Synthesis, the corpus on disk, batching, augmentation, clock."""

import json

import numpy as np
import pytest

from antiphon.errors import AntiphonError, CheckpointError, ConfigError
from antiphon.training import synthesis
from antiphon.training.augment import EFFECTS, augment
from antiphon.training.data import CodeStore, SpeechCorpus, length_batches
from antiphon.training.loop import Run, learning_rate_factor
from antiphon.training.voices import Speaking

SMALL = {
    "n_questions": 6,
    "n_readings": 4,
    "n_answers": 3,
    "n_recitals": 5,
    "n_validation": 2,
    "n_workers": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus")
    synthesis.synthesise(synthesis.DataTaskConfig(out=str(out), **SMALL))
    return out


@pytest.mark.parametrize("voice", ["espeak-ng:en-us+f2", "flite:kal16", "festival:ked_diphone"])
def test_every_synthesiser_speaks(voice):
    pcm = synthesis.synthesise_text("seven plus two", Speaking(voice))
    assert 0.5 < len(pcm) / 16_000 < 3
    assert np.abs(pcm).max() == pytest.approx(0.7 * 32767, rel=0.01)


def test_an_unknown_voice_is_an_error():
    with pytest.raises(ConfigError, match="unknown synthesiser 'sam'"):
        synthesis.synthesise_text("hello", Speaking("sam:one"))
    with pytest.raises(AntiphonError, match="nobody"):
        synthesis.synthesise_text("", Speaking("espeak-ng:nobody"))


def test_the_corpus_is_complete_and_goes_on_where_it_stopped(folder):
    corpus = SpeechCorpus(folder)
    assert len(corpus.select("question")) == 6
    assert len(corpus.select("question", "valid")) == 2
    assert len(corpus.select("reading")) == 4
    answers = corpus.select("answer")
    assert {r.voice for r in answers} == {"flite:slt"}
    assert sum(r.skill == "recital" for r in answers) == 5
    lengths = [len(corpus.waveform(r)) for r in corpus.records]
    assert min(lengths) > 2000
    size = (folder / "audio.bin").stat().st_size
    synthesis.synthesise(synthesis.DataTaskConfig(out=str(folder), **SMALL))
    assert (folder / "audio.bin").stat().st_size == size


def test_a_line_being_written_is_left_out(folder, tmp_path):
    for name in ("audio.bin", "index.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with (tmp_path / "index.jsonl").open("a") as file:
        file.write('{"id": "q9", "te')
    assert len(SpeechCorpus(tmp_path).records) == len(SpeechCorpus(folder).records)


def test_a_missing_corpus_says_what_to_run(tmp_path):
    with pytest.raises(ConfigError, match="antiphon train data"):
        SpeechCorpus(tmp_path)


def test_codes_come_back_as_stored(tmp_path):
    store = CodeStore(tmp_path)
    store.append([("a", np.array([1, 2])), ("b", np.array([3]))])
    store.append([("c", np.array([], int))])
    found = {key: value.tolist() for key, value in store.load().items()}
    assert found == {"a": [1, 2], "b": [3], "c": []}


def test_batches_keep_to_their_budget_and_use_everything(folder):
    records = SpeechCorpus(folder).select()
    source = length_batches(records, 6.0, np.random.default_rng(0))
    seen = set()
    while len(seen) < len(records):
        batch = next(source)
        assert len(batch) == 1 or max(r.n for r in batch) * len(batch) <= 6.0 * 16_000
        seen |= {r.id for r in batch}


def test_augmentation_stays_finite_and_in_range():
    rng = np.random.default_rng(0)
    speech = (0.3 * np.sin(np.arange(16_000) / 9)).astype(np.float32)
    for _, effect in EFFECTS:
        changed = effect(speech, rng)
        assert changed.shape == speech.shape
        assert np.isfinite(changed).all()
        assert np.abs(changed - speech).max() > 1e-3
    out = augment(speech, rng)
    assert out.dtype == np.float32
    assert np.abs(out).max() <= 1.0
    assert len(out) >= len(speech)


def test_the_learning_rate_rises_then_falls():
    values = [learning_rate_factor(f) for f in (0.0, 0.03, 0.5, 1.0)]
    assert values[0] < values[1] == 1.0 > values[2] > values[3] > 0


def test_a_run_resumes_its_clock_and_plots(tmp_path):
    run = Run(tmp_path, minutes=1.0, max_steps=4)
    run.step = 3
    run.log(loss=1.5)
    run.save({"model": {}})
    again = Run(tmp_path, minutes=1.0, max_steps=4)
    assert again.resume() == {"model": {}}
    assert again.step == 3
    assert again.fraction == pytest.approx(0.75)
    again.step = 4
    assert again.is_over
    again.log(loss=1.0)
    again.plot()
    assert (tmp_path / "loss.png").stat().st_size > 1000
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["loss"] == 1.5


def test_a_damaged_checkpoint_says_so(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="delete it to start anew"):
        Run(tmp_path, minutes=1.0).resume()
