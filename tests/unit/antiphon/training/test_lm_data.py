"""Packed rows teach exactly what each exchange would teach alone."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import GlmConfig, GlmForCausalLM

from antiphon.dialogue.prompt import REPLY_MODE, render_prompt, speech_turn
from antiphon.training import lm_data, lm_rows
from antiphon.training.data import Record
from antiphon.training.domain.conversation import FAST, PACES, SLOW
from antiphon.training.domain.table import SmallDomain, find_domain
from tests.small_vocabulary import N_AUDIO, small_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return small_tokenizer(tmp_path_factory.mktemp("vocabulary"))


@pytest.fixture
def builder(tokenizer):
    neighbours = torch.arange(N_AUDIO)[:, None].roll(1, 0)
    return lm_data.SegmentBuilder(tokenizer, neighbours, 0.0, random.Random(1))


def codes(*values):
    return np.array(values, dtype=np.int16)


def test_interleave_keeps_thirteen_and_twenty_six():
    woven = lm_data.interleave(range(30), range(100, 160))
    assert woven[:13] == list(range(13))
    assert woven[13:39] == list(range(100, 126))
    assert woven[39:52] == list(range(13, 26))
    assert sorted(woven) == sorted([*range(30), *range(100, 160)])
    assert lm_data.interleave([1], [7, 8]) == [1, 7, 8]


def test_a_segment_is_what_the_dialogue_renders(builder, tokenizer):
    segment = builder.spoken_question(codes(3, 4), "nine.", codes(5))
    turn = speech_turn([3, 4], tokenizer.layout, tokenizer)
    rendered = render_prompt([turn], tokenizer.layout, tokenizer)
    opening = segment.ids[: len(segment.ids) - len(tokenizer.encode("nine.")) - 1]
    assert rendered[-len(opening) :] == opening


def test_targets_are_the_next_ids_of_the_reply_and_its_end(builder, tokenizer):
    segment = builder.spoken_question(codes(3, 4), "nine.", codes(5))
    learned = [t for t in segment.targets if t != lm_data.NO_TARGET]
    audio = tokenizer.layout.audio_0 + 5
    assert learned == [*tokenizer.encode("nine."), audio, tokenizer.layout.user]
    assert len(segment.ids) == len(segment.targets)


@pytest.mark.parametrize("kind", ["spoken", "typed"])
@pytest.mark.parametrize("n_words", [1, 4, 30])
def test_an_answer_without_its_sound_runs_on_over_any_and_does_not_learn_it(
    builder, tokenizer, kind, n_words
):
    answer, strange = "what " * n_words, codes(1, 2, 3)
    segment = (
        builder.silent_question(codes(3), answer, strange)
        if kind == "spoken"
        else builder.hummed_question("what is seven", answer, strange)
    )
    text = tokenizer.encode(answer)[: 13 * lm_data.LONGEST_HUMMED]
    # the token before a block of sound does not say what follows it, all other text is learned
    assert learned(segment) == text
    reply = segment.ids[-len(lm_data.interleave(text, [0] * 26 * ((len(text) - 1) // 13))) :]
    audio = [i for i in reply if i >= tokenizer.layout.audio_0]
    assert len(audio) == 26 * ((len(text) - 1) // 13)
    assert [i for i in reply if i < tokenizer.layout.audio_0] == text
    assert reply[13 : 13 + len(audio[:26])] == audio[:26]


def test_heard_codes_become_neighbours_under_noise(tokenizer):
    neighbours = torch.arange(N_AUDIO)[:, None].roll(1, 0)
    noisy = lm_data.SegmentBuilder(tokenizer, neighbours, 1.0, random.Random(1))
    audio_0 = tokenizer.layout.audio_0
    heard = [i - audio_0 for i in noisy.heard(codes(3, 9)) if i >= audio_0]
    assert heard == [2, 8]


@pytest.mark.parametrize(
    ("plain", "typed"),
    [("what is forty seven plus two", "what is 47 + 2"), ("say, ten cats", "say, 10 cats")],
)
def test_number_words_become_digits(plain, typed):
    assert lm_data.words_to_digits(plain) == typed


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_packed_exchanges_do_not_see_each_other(builder, tokenizer, attention):
    layout = tokenizer.layout
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GlmForCausalLM(
            GlmConfig(
                vocab_size=layout.vocab_size, hidden_size=32, intermediate_size=64,
                num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
                max_position_embeddings=256, pad_token_id=layout.stop[0],
            )
        ).eval()  # fmt: skip
    model.set_attn_implementation(attention)
    prefix = [*layout.prefix, layout.system]
    segments = [
        builder.spoken_question(codes(1, 2, 3), "four", codes(4, 5)),
        builder.transcription(codes(9, 8), "eight"),
    ]
    row = lm_data.pack(prefix, segments, 80, is_dialogue=False)
    with torch.no_grad():
        packed = model(
            row.ids[None],
            attention_mask=lm_data.attention_mask(row.groups[None]),
            position_ids=row.positions[None],
        ).logits[0]
        for number, segment in enumerate(segments, start=1):
            alone = model(torch.tensor([prefix + segment.ids])).logits[0, len(prefix) :]
            torch.testing.assert_close(packed[row.groups == number], alone, atol=1e-4, rtol=1e-4)


def test_a_mask_hides_the_same_in_any_type():
    groups = torch.tensor([[0, 0, 1, 1, 2, 3]])
    wide, narrow = (
        lm_data.attention_mask(groups, each) for each in (torch.float32, torch.bfloat16)
    )
    assert narrow.dtype == torch.bfloat16
    assert torch.equal(wide == 0, narrow == 0)
    assert torch.isfinite(narrow).all() and (narrow[narrow != 0] < -1e38).all()


def test_a_dialogue_row_is_one_chain(builder):
    segments = [builder.transcription(codes(1), "a")] * 2
    row = lm_data.pack([1, 2], segments, 64, is_dialogue=True)
    n = 2 + 2 * len(segments[0].ids)
    assert row.positions[:n].tolist() == list(range(n))
    assert not row.groups[:n].any()


def learned(segment):
    return [t for t in segment.targets if t != lm_data.NO_TARGET]


def test_a_recited_sum_teaches_its_result_alone(builder, tokenizer):
    segment = builder.recited("Seven plus two is nine.")
    assert tokenizer.decode(learned(segment)) == " nine."
    assert tokenizer.decode(segment.ids[1:]) == "Seven plus two is nine."


def test_a_recited_count_teaches_the_numbers_and_where_to_stop(builder, tokenizer):
    segment = builder.recited("From one to three: one, two, three.")
    assert tokenizer.decode(learned(segment)) == " one, two, three."


def test_an_answer_to_speak_teaches_its_sound_and_its_end(builder, tokenizer):
    segment = builder.spoken("Nine.", codes(4, 5))
    audio = [tokenizer.layout.audio_0 + code for code in (4, 5)]
    assert learned(segment) == [*audio, tokenizer.layout.user]
    asked = builder.spoken_question(codes(1), "Nine.", codes(4, 5))
    assert asked.ids[-len(segment.ids) :] == segment.ids


def test_a_wish_for_a_pace_comes_before_the_answer_and_is_not_learned(builder, tokenizer):
    segment = builder.spoken("Nine.", codes(4, 5), "slower please")
    assert learned(segment) == learned(builder.spoken("Nine.", codes(4, 5)))
    reply = builder.reply("Nine.", codes(4, 5))
    assert segment.ids == builder.segment(builder.typed("slower please"), REPLY_MODE, reply).ids


def test_what_is_said_again_is_learned_beyond_its_sound(builder, tokenizer):
    segment = builder.echoed("Nine.", "again please", codes(*range(40)))
    assert tokenizer.decode(learned(segment)) == "Nine."
    said = builder.reply("Nine.", codes(*range(40)))[: len(tokenizer.encode("Nine.")) + 26]
    assert segment.ids[: len(said) + len(builder.modes[REPLY_MODE]) + 1][-len(said) :] == said
    assert len(segment.ids) == len(segment.targets)
    assert segment.targets[-1] == lm_data.NO_TARGET  # sound would follow


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("The capital of Iceland is Reykjavik.", " Reykjavik."),
        ("Island is spelled I, S.", " spelled I, S."),
        ("After May comes June.", " June."),
        ("A frog says ribbit.", " ribbit."),
        ("牛奶是白色的。", "白色的。"),
    ],
)
def test_a_recited_fact_teaches_what_was_asked_for(builder, tokenizer, answer, result):
    assert tokenizer.decode(learned(builder.recited(answer))) == result


def test_what_does_not_restate_its_question_is_not_recited(builder):
    with pytest.raises(ValueError, match="neither a sum nor a count nor a fact"):
        builder.recited("Hello there.")


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


def test_mandarin_is_written_down_without_a_space(builder, tokenizer):
    assert tokenizer.decode(learned(builder.transcription(codes(1), "九"))[:-1]) == "九"


def test_a_word_to_repeat_is_the_same_tokens_wherever_it_stands(builder, tokenizer):
    first, second = tokenizer.encode(" window"), tokenizer.encode(" chair")
    full_stop = tokenizer.encode(".")
    segment = builder.silent_question(codes(1), "Window chair.", codes(2))
    assert learned(segment) == [*first, *second, *full_stop]
    spoken = builder.spoken_question(codes(1), "Chair window.", codes(2))
    assert learned(spoken)[: len(second)] == second
    spelled = tokenizer.decode(learned(builder.recited("Window is spelled W, I.")))
    assert spelled == " spelled W, I."


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


def test_a_mandarin_sum_is_recited_and_typed(builder, tokenizer):
    segment = builder.recited("七加二等于九。")
    assert tokenizer.decode(learned(segment)) == "九。"
    assert lm_data.typed_forms("七加二等于几", random.Random(1)).startswith("七加二等于几")
