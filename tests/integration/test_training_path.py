"""From nothing to a tokenizer and a language model that the normal loaders take, at toy scale."""

import json
from pathlib import Path

import pytest
import torch

from antiphon.models.glm4voice.language_model import load_language_model
from antiphon.models.glm4voice.text_tokenizer import GlmTextTokenizer
from antiphon.training.codes import EncodeTaskConfig, encode_corpus
from antiphon.training.data import CodeStore, SpeechCorpus
from antiphon.training.lm_task import LmTask, LmTaskConfig
from antiphon.training.synthesis import DataTaskConfig, synthesise
from antiphon.training.tokenizer_task import TokenizerTask, TokenizerTaskConfig
from speech_tokenizer import SpeechTokenizer


def losses(run: Path, name: str) -> list[float]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [record[name] for record in map(json.loads, lines) if name in record]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("training")
    config = DataTaskConfig(
        out=str(out / "speech"), n_questions=24, n_answers=24, n_validation=4, n_workers=2
    )
    synthesise(config)
    return out


@pytest.fixture(scope="module")
def tokenizer_run(folder: Path) -> Path:
    config = TokenizerTaskConfig(
        data=str(folder / "speech"),
        run=str(folder / "tokenizer-run"),
        out=str(folder / "tokenizer"),
        minutes=30,
        max_steps=50,
        batch_s=20.0,
        d_model=32,
        n_layers=1,
        n_heads=2,
        n_mels=40,
        codebook_size=32,
        quantise_from=0.5,
        learning_rate=4e-3,
        validate_every=50,
        use_bf16=False,
    )
    TokenizerTask(config).train()
    return folder / "tokenizer-run"


@pytest.fixture(scope="module")
def codes(folder: Path, tokenizer_run: Path) -> None:
    config = EncodeTaskConfig(
        data=str(folder / "speech"), tokenizer=str(folder / "tokenizer"), n_workers=1
    )
    encode_corpus(config)


def test_the_tokenizer_learns_and_loads(folder: Path, tokenizer_run: Path) -> None:
    loss = losses(tokenizer_run, "ctc")
    assert loss[-1] < 0.8 * loss[0]
    assert (tokenizer_run / "loss.png").exists()
    tokenizer = SpeechTokenizer.from_pretrained(folder / "tokenizer")
    corpus = SpeechCorpus(folder / "speech")
    ids = tokenizer.encode(corpus.waveform(corpus.records[0]), 16_000)
    assert len(ids) == -(-corpus.records[0].n // 1280)
    assert 0 <= int(ids.min()) <= int(ids.max()) < 32


def test_the_tokenizer_goes_on_where_it_stopped(folder: Path, tokenizer_run: Path) -> None:
    config = TokenizerTaskConfig(
        data=str(folder / "speech"),
        run=str(tokenizer_run),
        out=str(folder / "again"),
        d_model=32,
        n_layers=1,
        n_heads=2,
        n_mels=40,
        codebook_size=32,
        minutes=30,
        max_steps=50,
    )
    task = TokenizerTask(config)
    task.resume()
    assert task.run.step == 50
    assert task.is_quantised


@pytest.mark.usefixtures("codes")
def test_codes_are_those_of_the_tokenizer(folder: Path) -> None:
    corpus, found = SpeechCorpus(folder / "speech"), CodeStore(folder / "speech").load()
    assert set(found) == {record.id for record in corpus.records}
    tokenizer = SpeechTokenizer.from_pretrained(folder / "tokenizer")
    for record in corpus.select("answer")[:5]:  # answers are heard as they are
        expected = tokenizer.encode(corpus.waveform(record), 16_000)
        assert found[record.id].tolist() == expected.tolist()


@pytest.mark.usefixtures("codes")
def test_the_language_model_learns_and_loads(folder: Path) -> None:
    run, out = folder / "lm-run", folder / "lm"
    config = LmTaskConfig(
        data=str(folder / "speech"),
        tokenizer=str(folder / "tokenizer"),
        run=str(run),
        out=str(out),
        minutes=30,
        max_steps=50,
        rows=2,
        row_length=320,
        d_model=32,
        n_layers=1,
        n_heads=2,
        n_kv_heads=1,
        d_ff=64,
        n_ranks=400,
        context_length=512,
        learning_rate=1e-2,
        validate_every=50,
        use_bf16=False,
    )
    task = LmTask(config)
    task.train()
    text_loss = losses(run, "text_loss")
    assert text_loss[-1] < 0.9 * text_loss[0]
    tokenizer = GlmTextTokenizer.from_pretrained(out)
    model = load_language_model(str(out), "float32", "cpu", progress=False)
    ids = torch.tensor([tokenizer.encode("seven plus two is nine")])
    with torch.inference_mode():
        expected = task.model.eval()(ids).logits
        torch.testing.assert_close(
            model(ids).logits, expected, atol=0.05, rtol=0.05
        )  # float16 file
