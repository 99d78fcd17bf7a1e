"""Characters become syllables, and texts are cut where the script changes."""

import pytest

from antiphon.errors import CheckpointError, ConfigError
from antiphon.training.code_heads import PhoneHead
from antiphon.training.domain.pinyin import language_runs, to_pinyin
from antiphon.training.domain.table import FullDomain
from antiphon.training.pronunciation import (
    N_BILINGUAL_PHONES,
    N_PHONES,
    bilingual_phone_labels,
    phone_labels,
    syllable_phones,
)
from antiphon.training.recogniser import (
    BILINGUAL,
    ENGLISH,
    CodeRecogniser,
    alphabet_of,
    labels_to_text,
    text_to_labels,
)


def test_characters_become_syllables_with_tones_of_the_sentence():
    assert to_pinyin("你好，一只猫。") == "ni2 hao3, yi4 zhi1 mao1."
    assert to_pinyin("苹果的英语是 apple。") == "ping2 guo3 de5 ying1 yu3 shi4 apple."
    assert to_pinyin("plain words") == "plain words"


def test_runs_end_where_the_script_changes():
    assert language_runs("In Chinese, cat is 猫。") == ["In Chinese, cat is", "猫。"]
    assert language_runs("猫的英语是 cat。") == ["猫的英语是", "cat。"]
    assert language_runs("你好，小安。") == ["你好，小安。"]


def test_both_languages_share_the_letters():
    labels = text_to_labels("Hello, 猫!", BILINGUAL)
    assert labels_to_text(labels, BILINGUAL) == "hello mao1"
    assert text_to_labels("hello", BILINGUAL) == text_to_labels("hello")
    assert labels_to_text(text_to_labels("it's 5")) == "it's"


def test_a_recogniser_tells_its_alphabet():
    for alphabet in (ENGLISH, BILINGUAL):
        assert alphabet_of(CodeRecogniser(16, alphabet).head.out_features) == alphabet
    with pytest.raises(CheckpointError, match="7 outputs"):
        alphabet_of(7)


def test_syllables_are_cut_into_beginning_end_and_tone():
    labels = syllable_phones("zhuang1")
    assert len(labels) == 3
    assert min(labels) >= N_PHONES
    assert max(labels) < N_BILINGUAL_PHONES
    assert syllable_phones("er2")[0] == syllable_phones("er4")[0]
    with pytest.raises(ConfigError, match="qqq1"):
        syllable_phones("qqq1")


def test_everything_said_in_the_domain_has_phones():
    for text in FullDomain().texts()[::7]:
        labels = bilingual_phone_labels(text)
        assert all(0 <= label < N_BILINGUAL_PHONES for label in labels)


def test_english_phones_stay_where_they_are():
    assert bilingual_phone_labels("bear chair") == phone_labels("bear chair")
    letter = bilingual_phone_labels("Cat is spelled C, A, T.")
    assert letter != phone_labels("Cat is spelled C, A, T.")  # the letter is no article
    assert PhoneHead(8, N_BILINGUAL_PHONES).out.out_features == 4 * (N_BILINGUAL_PHONES + 1)
