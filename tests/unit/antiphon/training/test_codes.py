"""What is heard, how often and how: the work list of the speech tokens."""

import numpy as np
import pytest

from antiphon.training.codes import EncodeTaskConfig, Hearing, all_hearings, hear
from antiphon.training.data import Record, SpeechCorpus, versions_of


def record(name: str, role: str, split: str = "train") -> Record:
    return Record(name, "hello", "v", "greeting", role, split, 0, 8000)


@pytest.fixture
def corpus(tmp_path) -> SpeechCorpus:
    sound = 3000 * np.sin(np.arange(8000) / 20)
    (tmp_path / "audio.bin").write_bytes(sound.astype(np.int16).tobytes())
    (tmp_path / "index.jsonl").write_text("")
    return SpeechCorpus(tmp_path)


def test_what_people_say_is_heard_again_and_answers_once() -> None:
    records = [record("q0", "question"), record("a0", "answer"), record("r0", "reading")]
    keys = [each.key for each in all_hearings(EncodeTaskConfig(n_versions=3), records)]
    assert keys == ["q0", "a0", "r0", "q0~1", "r0~1", "q0~2", "r0~2"]
    assert [each.key for each in all_hearings(EncodeTaskConfig(), records)] == ["q0", "a0", "r0"]


@pytest.mark.parametrize("split", ["valid", "reserved"])
def test_what_is_kept_for_validation_is_heard_once_and_as_it_is(
    corpus: SpeechCorpus, split: str
) -> None:
    kept = record("q0", "question", split)
    config = EncodeTaskConfig(augmented_share=1.0, n_versions=3)
    assert [each.key for each in all_hearings(config, [kept])] == ["q0"]
    heard = hear(config, corpus, [Hearing(kept, 0)])[0]
    assert np.array_equal(heard, corpus.waveform(kept))


def test_the_codes_of_all_hearings_belong_to_their_utterance() -> None:
    codes = {key: np.array([n], np.int16) for n, key in enumerate(("q0", "q0~1", "q1", "q0~2"))}
    found = {name: [int(c[0]) for c in values] for name, values in versions_of(codes).items()}
    assert found == {"q0": [0, 1, 3], "q1": [2]}


def test_each_hearing_sounds_different_but_always_the_same(corpus: SpeechCorpus) -> None:
    config = EncodeTaskConfig(augmented_share=0.0, n_versions=3)
    question = record("q0", "question")

    def sound(version: int) -> bytes:
        return hear(config, corpus, [Hearing(question, version)])[0].tobytes()

    plain = corpus.waveform(question).tobytes()
    assert sound(0) == plain
    assert len({plain, sound(1), sound(2)}) == 3
    assert sound(1) == sound(1)
