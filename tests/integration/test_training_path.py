"""From nothing to a whole model that the pipeline talks with, at toy scale."""

import asyncio
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from antiphon import cli
from antiphon.assembly import ModelChoice, load_parts, open_pipeline
from antiphon.dialogue.events import AudioChunk, TurnDone
from antiphon.dialogue.session import Session, UserTurn
from antiphon.dialogue.turn_pipeline import TurnOptions
from antiphon.errors import CheckpointError, ConfigError
from antiphon.evaluation.transcriber import CodeTranscriber
from antiphon.models.glm4voice.language_model import load_language_model
from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer
from antiphon.training.data import CodeStore, SpeechCorpus
from antiphon.training.flow_task import FlowTask
from antiphon.training.lm_export import read_domain
from antiphon.training.lm_task import HEAD_ALONE, LmTask, LmTaskConfig
from antiphon.training.recogniser import BILINGUAL
from antiphon.training.tasks import TASKS
from antiphon.training.together import Group, learn_together
from antiphon.training.tokenizer_config import TokenizerTaskConfig
from antiphon.training.tokenizer_task import TokenizerTask
from flow_inference import AudioDecoder
from speech_tokenizer import SpeechTokenizer

BOTH = ("false", "true")
TRAINED = ("tokenizer", "decoder", "vocoder", "lm")


def metric(root: Path, task: str, name: str) -> list[float]:
    lines = (root / "runs" / task / "metrics.jsonl").read_text().splitlines()
    return [record[name] for record in map(json.loads, lines) if name in record]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    arguments = ["train", "all", "--config", "toy", "--root", str(folder), "--no-eval"]
    assert cli.main(arguments) == 0
    return folder


@pytest.mark.parametrize(("task", "loss"), [("tokenizer", "ctc"), ("lm", "text_loss")])
def test_the_loss_falls(root: Path, task: str, loss: str) -> None:
    values = metric(root, task, loss)
    assert values[-1] < 0.9 * values[0]


def test_the_decoder_s_loss_falls(root: Path) -> None:
    """On the same batches before and after: one against another differs by a fifth by chance."""
    settings = [f"data={root}/data", f"run={root}/runs/decoder", f"out={root}/model/decoder"]
    flow = FlowTask(TASKS["decoder"].settings("decoder", "toy", settings))  # type: ignore[arg-type]

    def mean_loss() -> float:
        flow.reseed(7)
        with torch.no_grad():
            return sum(float(flow.losses()["prior"]) for _ in range(20)) / 20

    fresh = mean_loss()
    flow.resume()
    assert mean_loss() < 0.8 * fresh


def test_the_vocoder_gets_nearer(root: Path) -> None:
    values = metric(root, "vocoder", "valid_mel")  # of whole utterances: a batch is too small
    assert values[-1] < values[0]


def test_the_vocoder_meets_its_discriminators(root: Path) -> None:
    right = metric(root, "vocoder", "discriminator_right")
    assert right, "step 25 of 40 is logged, and the phase begins at step 20"
    assert all(0 <= value <= 1 for value in right)
    assert len(metric(root, "vocoder", "features")) == len(right)
    assert len(metric(root, "vocoder", "mel")) > len(right)  # it began late


@pytest.mark.parametrize("task", TRAINED)
def test_every_run_leaves_its_curve_and_checkpoint(root: Path, task: str) -> None:
    assert (root / "runs" / task / "loss.png").stat().st_size > 1000
    assert (root / "runs" / task / "checkpoint.pt").exists()


def test_codes_are_those_of_the_tokenizer(root: Path) -> None:
    corpus, found = SpeechCorpus(root / "data"), CodeStore(root / "data").load()
    assert set(found) == {record.id for record in corpus.records}
    tokenizer = SpeechTokenizer.from_pretrained(root / "model/tokenizer")
    for record in corpus.select("answer")[:5]:  # answers are heard as they are
        expected = tokenizer.encode(corpus.waveform(record), 16_000)
        assert found[record.id].tolist() == expected.tolist()


def test_a_tokenizer_run_goes_on_where_it_stopped(root: Path) -> None:
    settings = TASKS["tokenizer"].settings(
        "tokenizer", "toy", [f"data={root}/data", f"run={root}/runs/tokenizer"]
    )
    assert isinstance(settings, TokenizerTaskConfig)
    task = TokenizerTask(settings)
    task.resume()
    assert task.run.step == settings.max_steps
    assert task.is_quantised


def starting_lm(root: Path, folder: Path, *words: str) -> LmTask:
    """A task whose language model has gone on from the finished one."""
    folders = [f"data={root}/data", f"tokenizer={root}/model/tokenizer", f"start={root}/model/lm"]
    folders += [f"run={folder}/run", f"out={folder}/lm"]
    task = LmTask(TASKS["lm"].settings("lm", "toy", [*folders, *words]))  # type: ignore[arg-type]
    task.resume()
    return task


def test_a_language_model_goes_on_with_new_speech_tokens_alone(root: Path, tmp_path: Path) -> None:
    same, new = (
        starting_lm(root, tmp_path / words, f"new_codes={words}", "seed=9") for words in BOTH
    )
    audio_0 = same.tokenizer.layout.audio_0
    rows = slice(audio_0, audio_0 + same.n_codes)
    for name, value in same.model.state_dict().items():
        other = new.model.state_dict()[name]
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            assert torch.equal(value[:audio_0], other[:audio_0])
            assert not torch.equal(value[rows], other[rows])
        else:
            assert torch.equal(value, other), name


def test_what_is_known_of_speech_tokens_is_carried_to_new_ones(root: Path, tmp_path: Path) -> None:
    before = CodeStore(root / "data").load()
    described = json.loads((root / "model/tokenizer/config.json").read_text())
    n_codes = described["quantize_vocab_size"]
    (tmp_path / "before").mkdir()
    other = {name: (n_codes - 1 - codes).astype(np.int16) for name, codes in before.items()}
    CodeStore(tmp_path / "before").append(other.items())  # then the last token was the first
    plain = starting_lm(root, tmp_path / "plain")
    task = starting_lm(root, tmp_path / "carried", f"old_codes={tmp_path}/before")
    audio_0 = task.tokenizer.layout.audio_0
    seen = np.unique(np.concatenate(list(before.values())))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        known, carried = plain.model.state_dict()[name], task.model.state_dict()[name]
        for code in seen.tolist():
            torch.testing.assert_close(
                carried[audio_0 + code], known[audio_0 + n_codes - 1 - code], atol=1e-5, rtol=1e-4
            )
        assert torch.equal(known[:audio_0], carried[:audio_0])
    settings = [f"data={root}/data", f"run={root}/runs/decoder", f"start={root}/model/decoder"]
    words = [*settings, f"old_codes={tmp_path}/before", f"out={tmp_path}/decoder"]
    flow = FlowTask(TASKS["decoder"].settings("decoder", "toy", words))  # type: ignore[arg-type]
    fresh = flow.model.input_embedding.weight.detach().clone()
    flow.start_from(root / "model/decoder")
    known = torch.load(root / "model/decoder/flow.pt", weights_only=True)["input_embedding.weight"]
    found = flow.model.input_embedding.weight.detach()
    torch.testing.assert_close(found[seen], known.float()[n_codes - 1 - seen], atol=1e-3, rtol=1e-2)
    assert not torch.equal(found, fresh)


@pytest.mark.parametrize("start", ["model/lm", "runs/lm"])
def test_a_language_model_between_its_start_and_what_it_learned_is_written(
    root: Path, tmp_path: Path, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"start={root}/{start}", "max_steps=3", "seed=9", "learning_rate=0.05"]
    task = starting_lm(root, tmp_path, *words, "start_share=0.25")
    begun = {name: value.clone() for name, value in task.model.state_dict().items()}
    measured = {}
    monkeypatch.setattr(task, "validate", lambda: measured.update(copied(task)) or {})
    task.train()
    written = load_language_model(tmp_path / "lm", progress=False).state_dict()
    learned = task.model.state_dict()  # the task goes on with that
    ways = {name: (learned[name] - begun[name]).abs().mean() for name in learned}
    far = [name for name, way in ways.items() if way > 1e-3]
    assert len(far) > 10
    for name in far:
        back = (learned[name] - written[name].float()).abs().mean()
        assert back / ways[name] == pytest.approx(0.25, rel=0.05), name
        torch.testing.assert_close(measured[name], written[name].float(), atol=1e-2, rtol=1e-2)


def copied(task: LmTask) -> dict[str, Tensor]:
    """The weights that the model has now."""
    return {name: value.clone() for name, value in task.model.state_dict().items()}


def test_a_new_head_that_spells_learns_alone_before_a_trained_model_learns_from_it(
    root: Path, tmp_path: Path
) -> None:
    words = ["listening_weight=0.5", "listening_layer=1", "listened=1.0"]
    task = starting_lm(root, tmp_path, f"start={root}/model/lm", *words)
    assert {name for name, way in ways_of_a_step(task).items() if way} == {"listening"}
    task.run.step = HEAD_ALONE
    assert {name for name, way in ways_of_a_step(task).items() if way} == {"listening", "model"}
    known = starting_lm(root, tmp_path, f"start={root}/runs/lm", "listening_layer=1", *words)
    assert {name for name, way in ways_of_a_step(known).items() if way} == {"listening", "model"}


def ways_of_a_step(task: LmTask) -> dict[str, float]:
    """How far a step's gradients would move the model and its listening head."""
    parts = {"model": task.model, "listening": task.listening}
    task.optimizer.zero_grad()
    task.losses()["total"].backward()
    gradients = {
        name: [p.grad.abs().sum().item() for p in part.parameters() if p.grad is not None]
        for name, part in parts.items()
    }
    return {name: sum(found) for name, found in gradients.items()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["start_share=1.0"], "is not a share"),
        (["start_share=0.5", "start="], "is not given"),
        (["start_share=0.5", "new_codes=true"], "knew other speech tokens"),
        (["start_share=0.5", "out={root}/model/lm"], "writes over"),
        (["start_share=0.5", "start={root}/runs/lm", "run={root}/runs/lm"], "writes over"),
    ],
)
def test_a_share_of_nothing_is_refused(
    root: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        starting_lm(root, tmp_path, *(word.format(root=root) for word in words))


def learn_and_keep(settings: LmTaskConfig, group: Group) -> None:
    """Train, then keep what this process has learned."""
    task = LmTask(settings)
    task.group = group
    task.train()
    kept = {**task.model.state_dict(), **task.listening.state_dict(prefix="listening.")}
    torch.save(kept, Path(settings.run) / f"kept-{group.rank}.pt")


def test_a_language_model_that_two_processes_train_is_one(root: Path, tmp_path: Path) -> None:
    words = [f"data={root}/data", f"tokenizer={root}/model/tokenizer", f"run={tmp_path}/run"]
    words += [f"out={tmp_path}/lm", "max_steps=3", "listening_weight=0.5"]
    words += ["listening_layer=1", "listened=0.4"]
    settings = TASKS["lm"].settings("lm", "toy", [*words, f"start={root}/model/lm"])
    assert isinstance(settings, LmTaskConfig)
    learn_together(partial(learn_and_keep, settings), 2)
    first, second = (torch.load(tmp_path / f"run/kept-{r}.pt", weights_only=True) for r in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    anew = TASKS["lm"].settings("lm", "toy", [*words, f"out={tmp_path}/new", "n_processes=2"])
    assert isinstance(anew, LmTaskConfig)
    TASKS["lm"].run(replace(anew, run=str(tmp_path / "anew")))
    assert GlmTextTokenizer.from_pretrained(tmp_path / "new").n_ranks > 0
    assert (tmp_path / "new/config.json").exists()


def test_a_run_goes_on_from_an_earlier_one_with_what_spells(root: Path, tmp_path: Path) -> None:
    earlier = starting_lm(root, tmp_path / "earlier", "listening_weight=0.5", "listening_layer=1")
    earlier.step()
    earlier.run.save(earlier.state())
    task = starting_lm(root, tmp_path / "later", f"start={tmp_path}/earlier/run", "seed=9")
    for before, after in zip(earlier.learned(), task.learned(), strict=True):
        assert torch.equal(before, after)
    assert task.tokenizer.n_ranks == earlier.tokenizer.n_ranks
    assert task.run.step == 0


def test_a_language_model_of_another_size_is_no_start(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"start=.*of another shape"):
        starting_lm(root, tmp_path, "d_model=48")
    with pytest.raises(CheckpointError, match=r"start=.*missing"):
        starting_lm(root, tmp_path, "n_layers=9")


def test_the_whole_model_answers(root: Path) -> None:
    async def talk() -> tuple[list[AudioChunk], TurnDone]:
        bundle = load_parts(ModelChoice(model=str(root / "model"), device="cpu", dtype="float32"))
        noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
        turn = UserTurn(waveform=0.1 * noise, sample_rate=16_000)
        options = TurnOptions(temperature=1.0, top_p=1.0, seed=1, max_new_tokens=60)
        async with open_pipeline(bundle) as pipeline:
            events = [event async for event in pipeline.respond(Session(), turn, options)]
        assert isinstance(events[-1], TurnDone), events[-1]
        return [event for event in events if isinstance(event, AudioChunk)], events[-1]

    chunks, done = asyncio.run(talk())
    assert done.n_text_tokens + done.n_audio_tokens > 0
    heard = sum(len(chunk.waveform) for chunk in chunks)
    assert heard == pytest.approx(done.audio_s * 22_050, abs=1)
    assert all(np.isfinite(chunk.waveform).all() for chunk in chunks)


def test_the_model_says_what_it_was_taught(root: Path) -> None:
    assert read_domain(root / "model/lm") == "full"
    described = json.loads((root / "model/lm/antiphon.json").read_text())
    assert described["languages"] == ["en", "zh"]


def test_the_corpus_has_two_languages_and_three_voices(root: Path) -> None:
    records = SpeechCorpus(root / "data").records
    assert {"en", "zh"} <= {record.language for record in records if record.role == "question"}
    assert {record.output for record in records if record.role == "voice"} == {"low", "high"}


def test_each_voice_of_the_decoder_sounds_different(root: Path) -> None:
    decoder = AudioDecoder.from_pretrained(root / "model/decoder")
    assert decoder.voices == ("middle", "low", "high")
    sounds = [decoder.decode([1, 2, 3, 4], voice) for voice in decoder.voices]
    assert not torch.equal(sounds[0], sounds[1])
    assert torch.equal(sounds[0], decoder.decode([1, 2, 3, 4]))


def test_the_recogniser_half_reads_both_languages(root: Path) -> None:
    tokenizer = SpeechTokenizer.from_pretrained(root / "model/tokenizer")
    codebook = tokenizer.model.codebook.weight.detach()
    transcriber = CodeTranscriber(root / "model/tokenizer", codebook)
    assert set(transcriber.transcribe(torch.arange(20))) <= set(BILINGUAL)
    assert transcriber.transcribe(torch.tensor([], dtype=torch.long)) == ""


def test_an_unfinished_setting_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    arguments = ["train", "all", "--config", "toy", "--root", str(tmp_path / "new")]
    assert cli.main([*arguments, "--set", "lm.colour=red"]) == 1
    assert not (tmp_path / "new").exists()


def test_weights_fit_their_precision(root: Path) -> None:
    state = torch.load(root / "model/decoder/flow.pt", weights_only=True)
    assert all(
        value.dtype == torch.float16 for value in state.values() if value.is_floating_point()
    )
