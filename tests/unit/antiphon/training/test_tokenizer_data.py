"""Batches for the tokenizer: vocal tracts of other lengths, and batches made in processes."""

import json

import numpy as np
import torch

from antiphon.training.data import SpeechCorpus
from antiphon.training.prefetch import map_ahead, prefetch
from antiphon.training.tokenizer_data import (
    Acoustics,
    Batch,
    BatchSource,
    TokenizerBatches,
    validation_groups,
    warp_vocal_tract,
)


def write_corpus(folder):
    rng = np.random.default_rng(0)
    rows, start = [], 0
    with (folder / "audio.bin").open("wb") as audio:
        for number, (role, language) in enumerate(
            [("question", "en"), ("answer", "en"), ("voice", "zh"), ("question", "de")]
        ):
            audio.write((3000 * rng.standard_normal(8000)).astype(np.int16).tobytes())
            row = {"id": str(number), "text": "hello", "voice": "v", "skill": "s", "role": role}
            row |= {"split": "train", "start": start, "n": 8000, "language": language}
            rows.append(row | ({"output": "high"} if role == "voice" else {}))
            start += 8000
    (folder / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_other_languages_are_left_out_and_output_voices_are_numbered(tmp_path):
    write_corpus(tmp_path)
    source = BatchSource(str(tmp_path), 20, Acoustics(0.0))
    records = source.reopen()
    assert [record.language for record in records] == ["en", "en", "zh"]
    batch = source.prepare(records, np.random.default_rng(0))
    assert batch.is_answer.tolist() == [False, True, True]
    assert batch.voice.tolist() == [0, 0, 2]


def test_a_vocal_tract_shifts_channels_of_questions_alone():
    features = torch.zeros(40, 20, 8)
    features[:, 10] = 1.0
    mask, voice = torch.ones(40, 8, dtype=torch.bool), torch.zeros(40, dtype=torch.long)
    is_answer = torch.arange(40) % 2 == 0
    batch = Batch(features, mask, [""] * 40, features, is_answer, voice)
    warped = warp_vocal_tract(batch, torch.Generator().manual_seed(1))
    changed = (warped.features != features).flatten(1).any(1)
    assert changed.any()
    assert not changed[is_answer].any()
    peaks = warped.features[changed].mean(-1).argmax(1)
    assert ((peaks - 10).abs() <= 2).all()


def test_batches_come_from_processes_and_differ_by_process(tmp_path):
    write_corpus(tmp_path)
    make = TokenizerBatches(str(tmp_path), 20, Acoustics(1.0, is_wide=True), batch_s=1.0)
    batches = prefetch(make, 1, seed=3)
    first, second = next(batches), next(batches)
    assert first.features.shape[1] == 20
    expected = make(3000)
    for batch in (first, second):
        torch.testing.assert_close(batch.features, next(expected).features)


def test_work_is_mapped_in_order():
    assert list(map_ahead(abs, [-1, 2, -3], 0)) == [1, 2, 3]


def test_held_out_questions_are_sorted_by_language_and_voice(tmp_path):
    write_corpus(tmp_path)
    asked = [
        ("valid", "flite:slt", "en"), ("valid", "espeak-ng:cmn+f1", "zh"), ("valid", "rain", ""),
        ("reserved", "flite:rms", "en"), ("reserved", "espeak-ng:en-us+f4", "en"),
        ("reserved", "espeak-ng:cmn+f4", "zh"), ("valid", "espeak-ng:de", "de"),
        ("train", "flite:slt", "en"),
    ]  # fmt: skip
    row = {"text": "hello", "skill": "s", "role": "question", "start": 0, "n": 8000}
    with (tmp_path / "index.jsonl").open("a") as index:
        for number, (split, voice, language) in enumerate(asked):
            place = {"id": f"h{number}", "split": split, "voice": voice, "language": language}
            index.write(json.dumps(row | place) + "\n")
    groups = validation_groups(SpeechCorpus(tmp_path))
    assert {name: [r.id for r in records] for name, records in groups.items()} == {
        "valid_cer": ["h0"],
        "valid_cer_zh": ["h1"],
        "reserved_cer_rms": ["h3"],
        "reserved_cer": ["h4"],
        "reserved_cer_zh": ["h5"],
    }
