"""Settings of the page become options, or are refused in words."""

import pytest

from antiphon.demo.labels import STATIC_CHINESE, STATIC_ENGLISH
from antiphon.demo.reply_settings import PRESETS, read_options
from antiphon.errors import ConfigError


def test_options_are_read():
    options = read_options(0.5, 0.9, 100.0, 7.0)
    assert (options.temperature, options.top_p) == (0.5, 0.9)
    assert (options.max_new_tokens, options.seed) == (100, 7)
    assert options.voice is None
    assert read_options(0.5, 0.9, 100, -1).seed is None
    assert read_options(0.5, 0.9, 100, None).seed is None
    assert read_options(0.5, 0.9, 100, -1, "").voice is None
    assert read_options(0.5, 0.9, 100, -1, "second").voice == "second"


def test_presets_can_be_used_and_have_names():
    for preset in PRESETS:
        read_options(preset.temperature, preset.top_p, 100, preset.seed)
        assert preset.name in STATIC_ENGLISH
        assert preset.name in STATIC_CHINESE


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((-0.1, 0.8, 10, -1), "temperature"),
        ((0.2, 0.0, 10, -1), "top_p"),
        ((0.2, 0.8, 0, -1), "max_new_tokens"),
        ((0.2, 0.8, float("inf"), -1), "number"),
        ((None, 0.8, 10, -1), "temperature"),
        ((0.2, 0.8, 10, -2), "seed"),
        ((0.2, 0.8, 10, 1e12), "seed"),
        ((0.2, 0.8, 10, float("nan")), "seed"),
    ],
)
def test_bad_options_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        read_options(*settings)
