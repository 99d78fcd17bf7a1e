"""The page's words: both languages say the same things."""

from dataclasses import fields

import pytest

from antiphon.demo.labels import (
    CHINESE_PHRASES,
    STATIC_CHINESE,
    STATIC_ENGLISH,
    TIMING_CHINESE,
    TIMING_ENGLISH,
    Phrases,
    phrases_for,
)


def test_both_languages_have_every_label():
    assert STATIC_ENGLISH.keys() == STATIC_CHINESE.keys()
    assert all(STATIC_ENGLISH.values())
    assert all(STATIC_CHINESE.values())
    assert TIMING_ENGLISH.keys() == TIMING_CHINESE.keys()


def test_every_phrase_is_translated():
    same = [f.name for f in fields(Phrases) if getattr(CHINESE_PHRASES, f.name) == f.default]
    assert same == []


@pytest.mark.parametrize("name", ["first_sound", "speech", "forgotten", "cut_at"])
def test_phrases_take_the_same_values(name):
    values = {"seconds": 1.25, "count": 3}
    for phrases in (Phrases(), CHINESE_PHRASES):
        assert "{" not in getattr(phrases, name).format(**values)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", CHINESE_PHRASES),
        ("zh", CHINESE_PHRASES),
        ("en-US,en;q=0.5,zh;q=0.3", Phrases()),
        ("", Phrases()),
        (None, Phrases()),
    ],
)
def test_language_follows_the_browser(header, expected):
    assert phrases_for(header) == expected


def test_what_was_chosen_on_the_page_wins():
    assert phrases_for("zh-CN", "en") == Phrases()
    assert phrases_for("en-US", "zh") == CHINESE_PHRASES
    assert phrases_for("zh-CN", "klingon") == CHINESE_PHRASES
