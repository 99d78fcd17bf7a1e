"""Noises: finite, in range, the same for the same name, different for others."""

import numpy as np
import pytest

from antiphon.errors import ConfigError
from antiphon.training.domain.talk_lexicon import NOISES
from antiphon.training.noises import MAKERS, make_noise
from antiphon.training.synthesis import say


@pytest.mark.parametrize("kind", NOISES)
def test_a_noise_is_told_by_its_name(kind):
    first, again, other = (make_noise(f"{kind}-{n}") for n in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert 16_000 <= len(first) <= 48_000
    loudest = np.abs(first.astype(int)).max()
    assert loudest < 100 if kind == "silence" else loudest > 300


def test_the_domain_names_every_noise():
    assert set(NOISES) == set(MAKERS)
    with pytest.raises(ConfigError, match="no noise 'bang'"):
        make_noise("bang-1")


def test_noises_are_said_like_voices():
    assert np.abs(say("", "noise:hum-3")).max() <= 1.0
