"""Speech is spelled where it was heard: packing keeps the places, and the head learns there."""

import random

import numpy as np
import pytest
import torch
from transformers import GlmConfig, GlmForCausalLM

from antiphon.training import lm_data
from antiphon.training.data import Record
from antiphon.training.domain.table import SmallDomain
from antiphon.training.lm_listening import N_AFTER, ListeningHead, lower_states
from antiphon.training.lm_rows import RowSource, mixture_at
from antiphon.training.recogniser import BILINGUAL, ENGLISH, labels_to_text
from tests.small_vocabulary import N_AUDIO


def builder_of(tokenizer, alphabet=ENGLISH):
    neighbours = torch.arange(N_AUDIO)[:, None]
    return lm_data.SegmentBuilder(tokenizer, neighbours, 0.0, random.Random(1), alphabet)


def exchange(builder, words, *codes):
    heard = np.array(codes, np.int16)
    return builder.noting(builder.silent_question(heard, "nine.", heard), heard, words)


@pytest.mark.parametrize("is_dialogue", [False, True])
def test_the_noted_places_are_those_of_the_speech_after_packing(tokenizer, is_dialogue):
    builder = builder_of(tokenizer)
    first, second = exchange(builder, "two", 1, 2, 3), exchange(builder, "one", 4, 5)
    after = lm_data.follow([first], exchange(builder, "six", 6, 7, 8, 9))
    prefix = builder.typed("speak")
    rows = [
        lm_data.pack(prefix, [first, second], 160, is_dialogue),
        lm_data.pack(prefix, [second, after], 160, is_dialogue),
    ]
    stacked = lm_data.stack_rows(rows)
    ids = stacked.ids.flatten().tolist()
    audio_0 = tokenizer.layout.audio_0
    found = [
        (
            [token - audio_0 for token in ids[said.start : said.start + said.n]],
            labels_to_text(list(said.labels), ENGLISH),
        )
        for said in stacked.heard
    ]
    assert found == [([1, 2, 3], "two"), ([4, 5], "one"), ([4, 5], "one"), ([6, 7, 8, 9], "six")]
    ends = [ids[said.start + said.n : said.start + said.n + N_AFTER] for said in stacked.heard]
    assert ends == [[tokenizer.layout.end_of_audio, tokenizer.layout.assistant]] * 4


def test_mandarin_is_noted_in_pinyin_with_tones(tokenizer):
    said = exchange(builder_of(tokenizer, BILINGUAL), "你好", 1, 2).heard[0]
    assert labels_to_text(list(said.labels), BILINGUAL) == "ni2 hao3"  # as it is said


def test_the_head_learns_to_spell_from_states_that_tell_the_letters():
    torch.manual_seed(0)
    words, d_model = ["two", "nine", "a"], 32
    labels = [tuple(ENGLISH.index(letter) for letter in word) for word in words]
    hidden, heard = torch.zeros(2, 16, d_model), []
    for number, spelled in enumerate(labels):
        start = (0, 7, 16)[number]
        for place, label in enumerate(spelled):
            hidden.view(-1, d_model)[start + place, label] = 3.0
        heard.append(lm_data.HeardSpeech(start, len(spelled), spelled))
    head = ListeningHead(d_model, ENGLISH)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    first = head(hidden, heard)
    for _ in range(200):
        optimizer.zero_grad()
        loss = head(hidden, heard)
        loss.backward()
        optimizer.step()
    assert first > 1.5
    assert loss < 0.3
    wrong = [lm_data.HeardSpeech(said.start, said.n, said.labels[::-1]) for said in heard]
    assert head(hidden, wrong) > 1.5
    later = hidden.clone()
    later[0, 3 + N_AFTER : 7] = 9.0  # between two pieces of speech
    assert torch.equal(head(later, heard), head(hidden, heard))


def test_the_lower_layers_alone_give_the_states_that_the_whole_model_has_there(tokenizer):
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = GlmConfig(vocab_size=tokenizer.vocab_size, pad_token_id=0, **size, **heads)
    model = GlmForCausalLM(config).model.eval()
    model.set_attn_implementation("eager")
    builder = builder_of(tokenizer)
    segments = [exchange(builder, "two", 1, 2, 3), exchange(builder, "one", 4, 5)]
    row = lm_data.stack_rows([lm_data.pack(builder.typed("speak"), segments, 120, False)] * 2)
    mask = lm_data.attention_mask(row.groups)
    with torch.no_grad():
        whole = model(row.ids, mask, row.positions, output_hidden_states=True, use_cache=False)
        lower = lower_states(model, row.ids, mask, row.positions, 2)
    torch.testing.assert_close(lower, whole.hidden_states[2], rtol=0, atol=0)


def test_speech_to_spell_is_what_it_is_before_an_answer(tokenizer):
    builder = builder_of(tokenizer)
    alone, answered = (
        builder.listened(np.array([1, 2, 3]), "two"),
        exchange(builder, "two", 1, 2, 3),
    )
    assert answered.ids[: len(alone.ids)] == alone.ids
    assert answered.heard == alone.heard
    assert alone.heard[0].start + alone.heard[0].n + N_AFTER == len(alone.ids)
    assert set(alone.targets) == {lm_data.NO_TARGET}


def test_batches_to_spell_hold_speech_with_known_words_alone(tokenizer):
    builder = builder_of(tokenizer)
    said = [("r0", "one", "en"), ("r1", "", "en"), ("r2", "eins", "de")]
    records = [
        Record(name, words, "v", "reading", "reading", "train", 0, 1, language=language)
        for name, words, language in said
    ]
    known = {record.id: np.array([number], np.int16) for number, record in enumerate(records)}
    rows = RowSource(builder, SmallDomain(), records, known, {"Nine.": np.array([7])}, 400)
    rows.mixture = mixture_at(0.0, 0.5, listened=1.0)
    row = lm_data.stack_rows(next(rows.batches(2)))
    heard = row.ids[row.ids >= tokenizer.layout.audio_0] - tokenizer.layout.audio_0
    assert set(heard.tolist()) == {0}
    assert len(row.heard) == len(heard) > 2
    assert (row.targets == lm_data.NO_TARGET).all()
