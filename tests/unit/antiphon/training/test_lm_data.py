"""Packed rows teach exactly what each exchange would teach alone."""

import itertools
import random

import pytest
import torch
from transformers import GlmConfig, GlmForCausalLM

from antiphon.dialogue.prompt import REPLY_MODE, render_prompt, speech_turn
from antiphon.training import lm_data
from tests.small_vocabulary import N_AUDIO, codes, learned

STRANGE = codes(*range(26))  # any sound


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


def test_a_recited_sum_teaches_its_result_alone(builder, tokenizer):
    segment = builder.recited("Seven plus two is nine.", STRANGE)
    assert tokenizer.decode(learned(segment)) == " nine."
    text = [token for token in segment.ids[1:] if token < tokenizer.layout.audio_0]
    assert tokenizer.decode(text) == "Seven plus two is nine."


def test_a_recited_count_teaches_the_numbers_and_where_to_stop(builder, tokenizer):
    segment = builder.recited("From one to three: one, two, three.", STRANGE)
    assert tokenizer.decode(learned(segment)) == " one, two, three."


COUNT = "From one to four: one, two, three, four."


def blocks(segment, layout):
    """Lengths of the stretches of text and of sound in what is learned or given."""
    return [
        (is_sound, len(list(run)))
        for is_sound, run in itertools.groupby(segment.ids, lambda token: token >= layout.audio_0)
    ]


def test_what_is_recited_goes_on_beyond_any_sound(builder, tokenizer):
    segment = builder.recited(COUNT, codes(*range(40)))
    assert tokenizer.decode(learned(segment)) == " one, two, three, four."
    n_text = len(tokenizer.encode(COUNT))
    assert n_text > 2 * 13  # this vocabulary spells numbers letter by letter
    found = blocks(segment, tokenizer.layout)
    assert found[:4] == [(False, 1 + 13), (True, 26), (False, 13), (True, 26)]
    assert sum(n for is_sound, n in found if not is_sound) == 1 + min(n_text, 4 * 13)


@pytest.mark.parametrize("kind", ["recited", "silent", "hummed", "echoed"])
def test_that_sound_follows_each_block_of_text_is_learned_without_any(builder, tokenizer, kind):
    strange = codes(*range(40))
    segment = {
        "recited": lambda: builder.recited(COUNT, strange),
        "silent": lambda: builder.silent_question(codes(1), COUNT, strange),
        "hummed": lambda: builder.hummed_question("how are you", COUNT, strange),
        "echoed": lambda: builder.echoed(COUNT, "again please", strange, n_after=26),
    }[kind]()
    audio_0 = tokenizer.layout.audio_0
    after = [*segment.ids[1:], audio_0]
    first = next(i for i, t in enumerate(segment.targets) if t != lm_data.NO_TARGET)
    ends = [
        place
        for place, (here, then) in enumerate(zip(segment.ids, after, strict=True))
        if here < audio_0 <= then and place >= first
    ]
    assert len(ends) == 3
    marked = [place for place, t in enumerate(segment.targets) if t == lm_data.ANY_SOUND]
    assert marked == ends
    assert not any(target >= audio_0 for target in segment.targets)


def test_a_long_answer_is_said_again_to_its_end(builder, tokenizer):
    segment = builder.echoed(COUNT, "again please", codes(*range(40)), n_after=5)
    assert tokenizer.decode(learned(segment)) == COUNT
    sounds = [n for is_sound, n in blocks(segment, tokenizer.layout) if is_sound]
    n_between = (len(tokenizer.encode(COUNT)) - 1) // 13
    assert sounds == [*[26] * n_between, 5, *[26] * n_between]


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
    segment = builder.echoed("Nine.", "again please", codes(*range(40)), n_after=26)
    assert tokenizer.decode(learned(segment)) == "Nine."
    said = builder.reply("Nine.", codes(*range(40)))[: len(tokenizer.encode("Nine.")) + 26]
    assert segment.ids[: len(said) + len(builder.modes[REPLY_MODE]) + 1][-len(said) :] == said
    assert len(segment.ids) == len(segment.targets)
    assert segment.targets[-1] == lm_data.ANY_SOUND


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
    assert tokenizer.decode(learned(builder.recited(answer, STRANGE))) == result


def test_what_does_not_restate_its_question_is_not_recited(builder):
    with pytest.raises(ValueError, match="neither a sum nor a count nor a fact"):
        builder.recited("Hello there.", STRANGE)


def test_mandarin_is_written_down_without_a_space(builder, tokenizer):
    assert tokenizer.decode(learned(builder.transcription(codes(1), "九"))[:-1]) == "九"


def test_a_word_to_repeat_is_the_same_tokens_wherever_it_stands(builder, tokenizer):
    first, second = tokenizer.encode(" window"), tokenizer.encode(" chair")
    full_stop = tokenizer.encode(".")
    segment = builder.silent_question(codes(1), "Window chair.", codes(2))
    assert learned(segment) == [*first, *second, *full_stop]
    spoken = builder.spoken_question(codes(1), "Chair window.", codes(2))
    assert learned(spoken)[: len(second)] == second
    spelled = tokenizer.decode(learned(builder.recited("Window is spelled W, I.", STRANGE)))
    assert spelled == " spelled W, I."


def test_a_mandarin_sum_is_recited_and_typed(builder, tokenizer):
    segment = builder.recited("七加二等于九。", STRANGE)
    assert tokenizer.decode(learned(segment)) == "九。"
    assert lm_data.typed_forms("七加二等于几", random.Random(1)).startswith("七加二等于几")
