"""The mixture: what is practised of a corpus, as often as it should be."""

from collections import Counter
from dataclasses import replace

from antiphon.training import lm_data, lm_rows
from antiphon.training.data import Record
from antiphon.training.domain.conversation import FAST, PACES, SLOW
from antiphon.training.domain.table import SmallDomain, find_domain
from tests.small_vocabulary import codes, learned


def test_facts_to_recite_are_free_for_training_and_restate_their_questions(builder):
    rows = lm_rows.RowSource(builder, find_domain("full"), [], {}, {"Nine.": codes(1, 2)}, 256)
    facts = [rows.fact() for _ in range(200)]
    assert {fact.skill for fact in facts} == set(lm_rows.FACTS)
    assert {fact.language for fact in facts} == {"en", "zh"}
    assert not any(fact.is_reserved for fact in facts)
    assert all(lm_data.RESTATED.match(fact.answer) for fact in facts)


def test_readings_are_written_down_only(builder, tokenizer):
    read = Record("r0", "apple tea", "v", "reading", "reading", "train", 0, 1)
    rows = lm_rows.RowSource(
        builder, SmallDomain(), [read], {"r0": codes(1, 2)}, {"": codes(3)}, 256
    )
    rows.mixture = lm_rows.Mixture(transcription=0.0, silent=0.0, typed=0.0)
    assert tokenizer.decode(learned(rows.speech_segment())[:-1]) == " apple tea"


def source(builder, **mixture):
    rows = lm_rows.RowSource(builder, SmallDomain(), [], {}, {"Nine.": codes(1, 2)}, 256)
    rows.mixture = lm_rows.Mixture(transcription=0.0, silent=0.0, **mixture)
    return rows


def test_batches_of_sums_have_as_many_tokens_in_shorter_rows(builder):
    rows = source(builder, recited=1.0)
    rows.row_length = 2048  # this vocabulary spells numbers letter by letter
    batch = next(rows.batches(2))
    n_rows = 2 * lm_rows.RECITED_ROWS
    assert [len(row.ids) for row in batch] == [2048 // lm_rows.RECITED_ROWS] * n_rows
    assert all((row.targets != lm_data.NO_TARGET).any() for row in batch)


def test_batches_of_answers_alone_are_mostly_sound(builder):
    rows = source(builder, recited=0.0, spoken=1.0)
    row = next(rows.batches(1))[0]
    audio_0 = builder.layout.audio_0
    assert (row.ids >= audio_0).any()
    assert (row.targets[row.targets != lm_data.NO_TARGET] >= audio_0).any()
    assert int(row.groups.max()) > 2


def test_answers_to_questions_are_spoken_as_often_as_any_words(builder, tokenizer, monkeypatch):
    words = {f"Word {index}.": codes(index) for index in range(20)}
    spoken = words | {"Nine.": codes(30), "九。": codes(31), "Nine.\n1.4": codes(32)}
    noise = Record("q2", "", "v", "refusal", "question", "train", 0, 1, "九。", language="")
    records = [*conversation(), noise, replace(noise, id="q3", language="fr")]
    rows = lm_rows.RowSource(builder, find_domain("full"), records, {}, spoken, 256)
    drawn = Counter(rows.usual_text() for _ in range(600))
    assert 0.2 < drawn["Nine."] / 600 < 0.35
    assert 0.2 < drawn["九。"] / 600 < 0.35  # once for the skill, whatever was asked in
    assert sum(drawn[word] for word in words) > 200
    monkeypatch.setattr(lm_rows, "OF_THE_DOMAIN", 1.0)
    assert {rows.usual_text() for _ in range(40)} == {"Nine.", "九。"}
    assert {rows.paced_key(["Word 1.\n1.4"]) for _ in range(9)} == {"Nine.\n1.4"}


def test_answers_at_another_pace_are_wished_for(builder, tokenizer, monkeypatch):
    monkeypatch.setattr(lm_rows, "PACED", 1.0)
    monkeypatch.setattr(builder, "typed", lambda text: wishes.append(text) or [5])
    spoken = {"Nine.": codes(1), "Nine.\n1.4": codes(2, 2), "九。\n0.7": codes(3)}
    rows = lm_rows.RowSource(builder, find_domain("full"), [], {}, spoken, 256)
    wishes = []
    sounds = {tuple(learned(rows.spoken())[:-1]) for _ in range(60)}
    audio_0 = tokenizer.layout.audio_0
    assert sounds == {(audio_0 + 2, audio_0 + 2), (audio_0 + 3,)}
    assert set(wishes) == {*PACES["en"][SLOW], *PACES["zh"][FAST]}


def test_answers_are_said_again_where_conversations_are_taught(builder, monkeypatch):
    monkeypatch.setattr(lm_rows, "ECHOED", 1.0)
    rows = lm_rows.RowSource(builder, find_domain("full"), [], {}, {"Nine.": codes(1)}, 256)
    echoed = [rows.recited() for _ in range(20)]
    assert all(builder.layout.user in segment.ids for segment in echoed)
    assert builder.layout.user not in source(builder).recited().ids


def test_typed_rows_fit_and_learn(builder):
    rows = source(builder, recited=0.0, typed=1.0)
    rows.row_length = 1000
    packed = rows.row()
    assert len(packed.ids) == 1000
    assert int(packed.groups.max()) > 1


def test_typed_questions_are_of_all_skills_alike(builder, monkeypatch):
    typed = Counter()
    domain = find_domain("full")
    rows = lm_rows.RowSource(builder, domain, [], {}, {"Nine.": codes(1, 2)}, 256)
    monkeypatch.setattr(domain, "draw", counted(domain.draw, typed))
    drawn = [rows.typed_segment() for _ in range(600)]
    others = [count for skill, count in typed.items() if skill != "arithmetic"]
    assert set(typed) == set(domain.skills)
    assert typed["arithmetic"] > 3 * max(others)
    assert max(others) < 3 * min(others)
    assert all(learned(segment) for segment in drawn)


def counted(draw, skills):
    def counting(rng, skill=None, **options):
        skills[skill] += 1
        return draw(rng, skill, **options)

    return counting


def test_practice_moves_from_listening_and_sums_to_whole_replies():
    early, late = lm_rows.mixture_at(0.1, 0.5), lm_rows.mixture_at(0.9, 0.5)
    assert early.silent > late.silent
    assert early.recited > late.recited
    assert early.spoken < late.spoken


def conversation(context_answer="Nine."):
    first = Record("q0.0", "hello", "v", "greeting", "question", "train", 0, 1, context_answer)
    second = Record(
        "q0", "slower", "v", "pace", "question", "train", 0, 1, "Nine.", pace=1.4, context="q0.0"
    )
    return [first, second]


def test_a_follow_up_comes_after_its_conversation_and_alone_is_learned(builder, tokenizer):
    known = {"q0.0": codes(1, 2), "q0": codes(3)}
    answers = {"Nine.": codes(4), "Nine.\n1.4": codes(5, 6)}
    rows = lm_rows.RowSource(builder, SmallDomain(), conversation(), known, answers, 256)
    rows.mixture = lm_rows.Mixture(transcription=0.0, silent=0.0)
    rows.order = [rows.by_id["q0"]]
    segment = rows.speech_segment()
    audio_0, user = tokenizer.layout.audio_0, tokenizer.layout.user
    assert [t - audio_0 for t in segment.ids if t >= audio_0] == [1, 2, 4, 3, 5, 6]
    assert segment.ids.count(user) == 2
    assert learned(segment) == [*tokenizer.encode("Nine."), audio_0 + 5, audio_0 + 6, user]


def test_a_wish_for_another_pace_is_answered_in_sound(builder, tokenizer):
    known = {"q0.0": codes(1, 2), "q0": codes(3)}
    answers = {"Nine.": codes(4), "Nine.\n1.4": codes(5, 6)}
    rows = lm_rows.RowSource(builder, SmallDomain(), conversation(), known, answers, 256)
    rows.mixture = lm_rows.Mixture(transcription=0.0, silent=1.0)
    audio_0 = tokenizer.layout.audio_0
    asked, wished = rows.answered(rows.by_id["q0.0"]), rows.answered(rows.by_id["q0"])
    assert not any(t >= audio_0 for t in learned(asked))
    assert [t - audio_0 for t in learned(wished) if t >= audio_0] == [5, 6]
    assert [record.id for record in rows.records].count("q0") == 2


def test_an_answer_is_said_again_as_a_spoken_wish_has_it(builder, tokenizer, monkeypatch):
    monkeypatch.setattr(lm_rows, "SAID_AGAIN", 1.0)
    usual = replace(conversation()[0], id="q1", text="once more please", skill="followup")
    known = {"q0.0": codes(1, 2), "q0": codes(3), "q0~1": codes(7), "q1": codes(8)}
    answers = {"Nine.": codes(4), "Nine.\n1.4": codes(5, 6), "九。\n1.4": codes(9)}
    records = [*conversation(), usual]
    rows = lm_rows.RowSource(builder, find_domain("full"), records, known, answers, 256)
    audio_0, user = tokenizer.layout.audio_0, tokenizer.layout.user
    segments = [rows.speech_segment() for _ in range(80)]
    heard = {tuple(t - audio_0 for t in each.ids if t >= audio_0) for each in segments}
    assert heard == {(4, 3, 5, 6), (4, 7, 5, 6), (4, 8, 4)}  # before, the wish, after
    text = tokenizer.encode("Nine.")
    sounds = {tuple(learned(each)) for each in segments}
    assert sounds == {(*text, audio_0 + 5, audio_0 + 6, user), (*text, audio_0 + 4, user)}
    for each in segments:
        said = each.heard[0]
        assert each.ids[said.start - 1] == tokenizer.layout.begin_of_audio
        assert each.ids[said.start + said.n] == tokenizer.layout.end_of_audio


def test_an_answer_at_a_pace_is_said_again_after_any_sound(builder, tokenizer, monkeypatch):
    monkeypatch.setattr(lm_rows, "SAID_AGAIN", 1.0)
    known, answers = {"q0": codes(3)}, {"Nine.\n1.4": codes(5, 6)}
    rows = lm_rows.RowSource(builder, find_domain("full"), conversation()[1:], known, answers, 256)
    audio_0, user = tokenizer.layout.audio_0, tokenizer.layout.user
    for _ in range(20):
        segment = rows.speech_segment()
        begin = segment.ids.index(user)
        assert {t - audio_0 for t in segment.ids[:begin] if t >= audio_0} <= {5, 6}
        assert [t - audio_0 for t in segment.ids[begin:] if t >= audio_0] == [3, 5, 6]


def test_a_follow_up_without_its_conversation_is_passed_over(builder):
    known = {"q0.0": codes(1, 2), "q0": codes(3)}
    records = conversation(context_answer="Unheard of.")
    rows = lm_rows.RowSource(builder, SmallDomain(), records, known, {"Nine.": codes(4)}, 256)
    assert rows.before(rows.by_id["q0"]) is None
    assert rows.before(rows.by_id["q0.0"]) == []


def test_any_hearing_of_a_question_is_practised(builder, tokenizer):
    known = {"q0.0": codes(1, 2), "q0.0~1": codes(7), "q0.0~2": codes(8, 8)}
    records, answers = conversation()[:1], {"Nine.": codes(4)}
    rows = lm_rows.RowSource(builder, SmallDomain(), records, known, answers, 256)
    rows.mixture = lm_rows.Mixture(transcription=0.0, silent=1.0)
    audio_0 = tokenizer.layout.audio_0
    segments = [rows.speech_segment().ids for _ in range(40)]
    heard = {tuple(t - audio_0 for t in ids if t >= audio_0) for ids in segments}
    assert heard == {(1, 2), (7,), (8, 8)}
