"""Fixtures of the dialogue tests."""

import threading

import pytest

from tests.dialogue_fakes import FakeDecoder, FakeEngine, FakeSpeechTokenizer
from tests.turn_bench import Bench


@pytest.fixture
def make_bench():
    """Build benches whose threads end with the test."""
    benches = []

    def make(script=(), decoder=None, listener=None, **engine_arguments):
        engine = FakeEngine(script, **engine_arguments)
        bench = Bench(engine, decoder or FakeDecoder(), listener or FakeSpeechTokenizer())
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        bench.pipeline.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("antiphon-")]
