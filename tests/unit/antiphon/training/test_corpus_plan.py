"""The full domain's corpus plan: conversations, noises, paces and several output voices."""

import hashlib
import json
from collections import Counter
from dataclasses import replace

import pytest

from antiphon.training.corpus_plan import (
    RESERVED,
    DataTaskConfig,
    answer_key,
    plan_corpus,
    reserved_questions,
)
from antiphon.training.domain.conversation import FAST, SLOW
from antiphon.training.domain.table import FullDomain, find_domain
from antiphon.training.voices import (
    LOW,
    MIDDLE,
    OUTPUT_VOICES,
    RESERVED_MANDARIN_VOICES,
    RESERVED_VOICES,
    Speaking,
)

SIZES = {"n_questions": 300, "n_readings": 20, "n_answers": 400, "n_validation": 40}


@pytest.fixture(scope="module")
def plan():
    config = DataTaskConfig(**SIZES, n_recitals=10, n_other_voices=20, domain="full")
    assert plan_corpus(config) == plan_corpus(config)
    return plan_corpus(config)


def test_ids_are_unique_and_contexts_are_there(plan):
    by_id = {utterance.id: utterance for utterance in plan}
    assert len(by_id) == len(plan)
    later = [utterance for utterance in plan if utterance.context]
    assert {utterance.skill for utterance in later} == {"followup", "pace"}
    for utterance in later:
        assert by_id[utterance.context].speaking == utterance.speaking


def test_every_answer_of_a_conversation_is_spoken(plan):
    spoken = {answer_key(u.text, u.pace) for u in plan if u.role == "answer"}
    for utterance in plan:
        if utterance.role == "question" and utterance.split == "train":
            assert answer_key(utterance.answer, utterance.pace) in spoken


def test_slower_answers_are_asked_to_last_longer(plan):
    paced = [u for u in plan if u.role == "answer" and u.pace != 1.0]
    assert paced
    for utterance in paced:
        usual = OUTPUT_VOICES[MIDDLE][utterance.language]
        assert utterance.speaking.stretch == pytest.approx(usual.stretch * utterance.pace)


def test_some_texts_are_said_slower_or_faster_without_being_asked():
    recited = DataTaskConfig(n_questions=0, n_validation=0, n_readings=0, domain="full")
    plan = plan_corpus(replace(recited, n_recitals=200, n_other_voices=0))
    paces = Counter(utterance.pace for utterance in plan)
    assert set(paces) == {1.0, SLOW, FAST}
    assert 30 < paces[SLOW] + paces[FAST] < 90


def test_answers_of_all_skills_are_said_slower_and_faster(plan):
    none = dict.fromkeys(("n_questions", "n_validation", "n_readings", "n_recitals"), 0)
    config = DataTaskConfig(**none, n_other_voices=0, n_paced=600, domain="full")
    paced = plan_corpus(config)
    keys = [answer_key(utterance.text, utterance.pace) for utterance in paced]
    assert len(set(keys)) == len(keys) > 600
    slow, fast = ({u.text for u in paced if u.pace == pace} for pace in (SLOW, FAST))
    assert slow == fast and len(slow) * 2 == len(paced)
    assert {u.skill for u in paced} == set(FullDomain().skills)
    with_paced = plan_corpus(
        replace(DataTaskConfig(**SIZES, n_recitals=10, domain="full"), n_paced=9)
    )
    usual = {(u.text, u.pace, u.id) for u in plan}
    assert usual - {(u.text, u.pace, u.id) for u in with_paced} == set()


def test_false_counts_are_said_besides(plan):
    config = DataTaskConfig(**SIZES, n_recitals=10, n_other_voices=20, domain="full")
    more = plan_corpus(replace(config, n_other_voices=0, n_false_counts=30))
    fewer = plan_corpus(replace(config, n_other_voices=0))
    added = {u.id: u for u in more}.keys() - {u.id for u in fewer}
    assert len(added) == 30
    assert all(":" in u.text or "：" in u.text for u in more if u.id in added)
    assert {u.text for u in fewer} <= {u.text for u in more}


def test_a_prefix_adds_a_draw_to_a_corpus(plan):
    config = DataTaskConfig(**SIZES, n_recitals=10, n_other_voices=20, domain="full")
    added = plan_corpus(replace(config, prefix="b"))
    assert [utterance.id for utterance in added] == [f"b{utterance.id}" for utterance in plan]
    assert [u.context for u in added] == [u.context and f"b{u.context}" for u in plan]
    assert [u.text for u in added] == [u.text for u in plan]


def test_other_voices_say_what_the_usual_one_says(plan):
    by_id = {utterance.id: utterance for utterance in plan}
    others = [utterance for utterance in plan if utterance.role == "voice"]
    assert len(others) == 20 * (len(OUTPUT_VOICES) - 1)
    for utterance in others:
        usual = by_id[utterance.id.partition(".")[0]]
        assert (usual.text, usual.pace, usual.output) == (utterance.text, utterance.pace, MIDDLE)
    low = OUTPUT_VOICES[LOW]["en"]
    middle = OUTPUT_VOICES[MIDDLE]["en"]
    assert low.stretch / low.warp == pytest.approx(middle.stretch / middle.warp)


def test_reserved_voices_are_not_in_it(plan):
    voices = {utterance.speaking.voice for utterance in plan}
    assert not any(voice.endswith(("+f4", "+m5")) or "rms" in voice for voice in voices)
    assert {utterance.language for utterance in plan} >= {"en", "zh", ""}


def test_the_small_domain_is_planned_as_before():
    config = DataTaskConfig(
        n_questions=200, n_readings=50, n_answers=100, n_recitals=60, n_validation=20
    )
    rows = []
    for u in plan_corpus(config):
        way = [u.speaking.voice, u.speaking.stretch, u.speaking.pitch, u.speaking.warp]
        rows.append([u.id, u.text, u.skill, u.role, u.split, u.answer, *way])
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    assert digest == "1a3c0fb954afaeadfbea065864a72bc390d2db954bc1d088774d513a41ffbd98"


@pytest.mark.parametrize("domain", ["small", "full"])
def test_questions_in_reserved_voices_change_nothing_else(domain):
    sizes = {"n_questions": 60, "n_readings": 5, "n_answers": 40, "n_validation": 10}
    config = DataTaskConfig(**sizes, n_recitals=5, n_other_voices=4, domain=domain)
    without, with_reserved = plan_corpus(config), plan_corpus(replace(config, n_reserved=6))
    assert [u for u in with_reserved if u.split != RESERVED] == without
    assert not any(u.split == RESERVED for u in without)


def test_reserved_questions_are_in_reserved_voices_and_of_reserved_combinations(monkeypatch):
    kept = []

    def draw(self, *args, **options):
        exchange = actual(self, *args, **options)
        kept.append((exchange.question, exchange.answer, exchange.is_reserved))
        return exchange

    actual = FullDomain.draw
    config = DataTaskConfig(n_reserved=50, domain="full")
    monkeypatch.setattr(FullDomain, "draw", draw)
    asked = list(reserved_questions(config, find_domain("full")))
    assert Counter(u.speaking.voice for u in asked) == dict.fromkeys(
        (*RESERVED_VOICES, *RESERVED_MANDARIN_VOICES), 50
    )
    assert len({u.id for u in asked}) == len(asked)
    for u in asked:
        assert (u.role, u.split, u.context) == ("question", RESERVED, "")
        assert (u.text, u.answer, True) in kept
        assert u.language == ("zh" if u.speaking.voice in RESERVED_MANDARIN_VOICES else "en")
        assert u.speaking == Speaking(u.speaking.voice)
    assert len({u.skill for u in asked}) > 8
