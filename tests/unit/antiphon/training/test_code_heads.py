"""Phones and mel told by codes: shapes, what is masked, how far a head sees."""

import pytest
import torch

from antiphon.errors import ConfigError
from antiphon.training import grammar
from antiphon.training.code_heads import FRAMES_PER_TOKEN, MelHead, PhoneHead, mel_loss
from antiphon.training.lexicon import CAPITALS, OPPOSITES, REPEAT_WORDS
from antiphon.training.pronunciation import N_PHONES, PAUSE, PHONES, phone_labels
from antiphon.training.recogniser import STEPS_PER_TOKEN, ctc_loss

MASK = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])


@pytest.fixture
def hidden():
    return torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))


def test_a_word_becomes_its_phones_with_pauses_between():
    labels = phone_labels("Bear, chair!")
    spelled = " ".join(PHONES[i] if i != PAUSE else "|" for i in labels)
    assert spelled == "B EH R | CH EH R"


def test_every_word_of_the_domain_has_phones():
    words = [*REPEAT_WORDS, *(w for pair in (*OPPOSITES, *CAPITALS) for w in pair)]
    assert all(phone_labels(word) for word in [*words, *grammar.all_texts()])


def test_an_unknown_word_is_named():
    with pytest.raises(ConfigError, match="no pronunciation of 'qqxz'"):
        phone_labels("say qqxz")


def test_phones_are_four_steps_a_token(hidden):
    log_phones = PhoneHead(16)(hidden, MASK)
    assert log_phones.shape == (2, 6 * STEPS_PER_TOKEN, N_PHONES + 1)
    torch.testing.assert_close(log_phones.exp().sum(-1), torch.ones(2, 24))


def test_a_head_sees_a_token_and_its_neighbours_alone(hidden):
    head = MelHead(16, 5)
    moved = hidden.clone()
    moved[0, 3] += 1.0
    changed = (head(hidden, MASK) != head(moved, MASK))[0].any(0)
    tokens = changed.unflatten(0, (6, FRAMES_PER_TOKEN)).any(1)
    assert tokens.tolist() == [False, False, True, True, True, False]


def test_mel_of_padding_does_not_count():
    mel, wanted = torch.zeros(2, 5, 48), torch.zeros(2, 5, 48)
    wanted[1, :, 4 * FRAMES_PER_TOKEN :] = 7.0
    assert mel_loss(mel, wanted, MASK) == 0
    wanted[0, :, 0] = 1.0
    assert mel_loss(mel, wanted, MASK) == pytest.approx(1 / (10 * FRAMES_PER_TOKEN))
    assert mel_loss(mel, wanted, torch.zeros_like(MASK)) == 0


def test_ctc_falls_to_nothing_when_the_labels_are_certain():
    labels = [[2, 5, 2]]
    scores = torch.full((1, 4, 7), -20.0)
    for step, label in enumerate((2, 5, 6, 2)):
        scores[0, step, label] = 20.0
    one_token = torch.tensor([[True]])
    assert ctc_loss(scores.log_softmax(-1), one_token, labels) < 1e-3
    assert ctc_loss(scores.log_softmax(-1), one_token, [[5, 2, 5]]) > 1
