"""The echo of a reply does not interrupt it; people do, also through the echo."""

import numpy as np
import pytest

from antiphon.dialogue.vad import SileroDetector
from antiphon.realtime.barge_in_trial import EchoPath, run_trial
from antiphon.training.synthesis import require_synthesisers, say

ANSWERS = (
    "The capital of France is Paris, which lies on the river Seine.",
    "There are seven days in a week, and twelve months in every year.",
    "I would start with a walk in the park, and then have a cup of tea.",
)


@pytest.fixture(scope="module")
def reply() -> np.ndarray:
    require_synthesisers()
    gap = np.zeros(3200, np.float32)
    return np.concatenate([each for text in ANSWERS for each in (say(text, "flite:slt"), gap)])


@pytest.fixture(scope="module")
def interruption() -> np.ndarray:
    speech = say("no wait, I have another question", "espeak-ng:en-gb")
    return speech[np.flatnonzero(np.abs(speech) > 0.02)[0] :]


def test_people_interrupt_and_the_echo_does_not(
    reply: np.ndarray, interruption: np.ndarray
) -> None:
    detector, path = SileroDetector(), EchoPath(level_db=-12, delay_ms=150)
    assert run_trial(detector, reply, path).n_false == 0
    found = run_trial(detector, reply[: 6 * 16_000], path, interruption, at_s=(1.5, 3.2))
    assert found.n_false == 0
    assert all(each is not None and each <= 300 for each in found.reactions_ms), found


def test_without_a_guard_the_echo_would_interrupt(reply: np.ndarray) -> None:
    """What the trial measures is the guard: the detector alone takes the echo for speech."""
    detector = SileroDetector().open_stream()
    echo = EchoPath().apply(reply[:32_000], np.random.default_rng(0))
    frames = echo[: len(echo) // 512 * 512].reshape(-1, 512)
    assert np.mean([detector.push(frame) > 0.5 for frame in frames]) > 0.5


@pytest.mark.parametrize("noise_db", [-75, -50])
def test_with_headphones_people_interrupt_within_the_first_second(
    reply: np.ndarray, interruption: np.ndarray, noise_db: float
) -> None:
    """Where nothing comes back the guard need not be sure of that for long before it believes."""
    headphones = EchoPath(level_db=-120, delay_ms=0, noise_db=noise_db)
    seconds = reply[: 3 * 16_000]
    found = run_trial(SileroDetector(), seconds, headphones, interruption, at_s=(0.9, 1.2, 1.6))
    assert found.n_false == 0
    assert all(each is not None and each <= 300 for each in found.reactions_ms), found


@pytest.mark.parametrize("delay_ms", [50, 300, 480])
def test_an_echo_interrupts_nobody_however_late_it_is(reply: np.ndarray, delay_ms: float) -> None:
    path = EchoPath(level_db=-12, delay_ms=delay_ms, noise_db=-75)
    assert run_trial(SileroDetector(), reply[: 4 * 16_000], path).n_false == 0
