"""Tokens while the person speaks: equal to the offline ones, however the samples are cut."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from antiphon.errors import AudioError, EngineError
from speech_tokenizer import SpeechTokenizer
from speech_tokenizer.modeling_whisper import WhisperVQEncoder
from tests.tiny_speech_tokenizer import CONFIG, POOLED_EARLY, SEGMENT, noise, write_checkpoint

BLOCK = 10 * 1280
RATES = (16_000, 8_000, 44_100)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> SpeechTokenizer:
    """Segments of 20 tokens, blocks of 10."""
    folder = write_checkpoint(tmp_path_factory.mktemp("heard") / "tokenizer")
    return SpeechTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def pooled_early(tmp_path_factory: pytest.TempPathFactory) -> SpeechTokenizer:
    """The same with two more layers behind the pooling, where a block is 10 places."""
    folder = write_checkpoint(tmp_path_factory.mktemp("heard") / "tokenizer", POOLED_EARLY)
    return SpeechTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def embedded(repo_root: Path) -> SpeechTokenizer:
    """The embedded model: blocks of 16 tokens."""
    return SpeechTokenizer.from_pretrained(repo_root / "resources/embedded/tokenizer")


def speechlike(n_samples: int, seed: int) -> Tensor:
    """Noise whose loudness rises and falls by powers of ten, with stretches of silence."""
    generator = torch.Generator().manual_seed(seed)
    powers = 8 * torch.rand(-(-n_samples // 2000), generator=generator) - 8
    loudness = torch.where(powers < -6, 0.0, 10.0**powers).repeat_interleave(2000)[:n_samples]
    return loudness * noise(n_samples, seed)


def cut(waveform: Tensor, places: list[float]) -> list[Tensor]:
    """Cut at these shares of the length."""
    n_samples = waveform.shape[0]
    ends = sorted(int(place * n_samples) for place in places)
    return [waveform[a:b] for a, b in pairwise([0, *ends, n_samples])]


def heard(tokenizer: SpeechTokenizer, pieces: list[Tensor], rate: int) -> Tensor:
    """Push pieces and finish."""
    with tokenizer.open_stream(rate) as stream:
        return torch.cat([*(stream.push(piece) for piece in pieces), stream.finish()])


lengths = st.one_of(
    st.integers(1, 3 * SEGMENT),
    st.sampled_from([n * BLOCK + d for n in range(1, 7) for d in (-1, 0, 1, 39, 40, 41)]),
)
places_to_cut = st.lists(st.floats(0, 1), max_size=12)


@given(lengths, st.sampled_from(RATES), places_to_cut, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_streamed_is_offline(
    tokenizer: SpeechTokenizer, n_samples: int, rate: int, places: list[float], seed: int
) -> None:
    waveform = speechlike(n_samples, seed)
    offline = tokenizer.encode(waveform, rate)
    assert torch.equal(heard(tokenizer, cut(waveform, places), rate), offline)


@given(lengths, st.sampled_from(RATES), places_to_cut, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_streamed_is_offline_where_layers_follow_the_pooling(
    pooled_early: SpeechTokenizer, n_samples: int, rate: int, places: list[float], seed: int
) -> None:
    waveform = speechlike(n_samples, seed)
    offline = pooled_early.encode(waveform, rate)
    assert torch.equal(heard(pooled_early, cut(waveform, places), rate), offline)


@given(st.integers(1, 3 * 64_000), st.sampled_from((16_000, 24_000)), places_to_cut)
@settings(max_examples=5, deadline=None)
def test_streamed_is_offline_with_the_embedded_model(
    embedded: SpeechTokenizer, n_samples: int, rate: int, places: list[float]
) -> None:
    waveform = speechlike(n_samples, n_samples)
    offline = embedded.encode(waveform, rate)
    assert torch.equal(heard(embedded, cut(waveform, places), rate), offline)


@given(lengths, places_to_cut, st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_at_any_time_all_ids_are_those_of_the_samples_so_far(
    tokenizer: SpeechTokenizer, n_samples: int, places: list[float], seed: int
) -> None:
    waveform, n_pushed = speechlike(n_samples, seed), 0
    with tokenizer.open_stream(16_000) as stream:
        final = torch.empty(0, dtype=torch.int64)
        for piece in cut(waveform, places):
            final = torch.cat([final, stream.push(piece)])
            n_pushed += len(piece)
            if n_pushed:
                now = torch.cat([final, stream.provisional()])
                assert torch.equal(now, tokenizer.encode(waveform[:n_pushed], 16_000))
                assert len(stream.settled) % 10 == 0
        whole = torch.cat([final, stream.finish()])
        assert torch.equal(whole[: len(final)], final)


def test_samples_may_come_one_by_one(tokenizer: SpeechTokenizer) -> None:
    waveform = speechlike(3000, 1)
    assert torch.equal(heard(tokenizer, list(waveform[:, None]), 48_000),
                       tokenizer.encode(waveform, 48_000))  # fmt: skip


def test_integers_are_taken_at_full_scale(tokenizer: SpeechTokenizer) -> None:
    pcm = (noise(5000) * 32768).to(torch.int16)
    assert torch.equal(heard(tokenizer, [pcm], 16_000), tokenizer.encode(pcm, 16_000))


def test_ids_are_final_with_their_segment_and_settled_with_their_block(
    tokenizer: SpeechTokenizer,
) -> None:
    waveform = noise(SEGMENT + 1)
    with tokenizer.open_stream(16_000) as stream:
        assert len(stream.push(waveform[: BLOCK + 39])) == len(stream.settled) == 0
        assert len(stream.push(waveform[BLOCK + 39 : BLOCK + 40])) == 0
        assert len(stream.settled) == 10
        assert len(stream.provisional()) == 11
        assert len(stream.push(waveform[BLOCK + 40 : -2])) == 0
        final = stream.push(waveform[-2:])
        assert torch.equal(final, tokenizer.encode(waveform[:-1], 16_000))
        assert len(stream.settled) == 0
        assert len(stream.finish()) == 1


def test_a_louder_sound_changes_settled_ids_and_only_that(tokenizer: SpeechTokenizer) -> None:
    quiet = 0.3 * speechlike(BLOCK + 2000, seed=1)
    with tokenizer.open_stream(16_000) as stream:
        stream.push(quiet)
        before = stream.settled
        stream.push(0.1 * quiet[:5000])  # no louder than before
        assert torch.equal(stream.settled, before)
        stream.push(noise(4000))
        after = stream.settled
        assert not torch.equal(after, before)
        assert torch.equal(stream.finish()[:10], after)


def test_at_the_end_the_open_block_alone_is_computed(
    tokenizer: SpeechTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waveform = noise(BLOCK + 4000)
    n_frames: list[int] = []
    compute: Callable[..., Tensor] = WhisperVQEncoder.hidden_of_block

    def counted(model: WhisperVQEncoder, features: Tensor, *rest: object) -> Tensor:
        n_frames.append(features.shape[-1])
        return compute(model, features, *rest)

    monkeypatch.setattr(WhisperVQEncoder, "hidden_of_block", counted)
    with tokenizer.open_stream(16_000) as stream:
        for piece in waveform.split(320):
            stream.push(piece)
        n_frames.clear()
        assert len(stream.finish()) == 14
    assert n_frames == [4 * 8]


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (torch.zeros(2, 100), "shape"),
        (torch.tensor([0.0, float("nan")]), "not numbers"),
        ([1 + 1j], "complex"),
        (torch.zeros(700 * 16_000), "11:40 min"),
    ],
)
def test_unusable_samples_are_refused_and_the_stream_goes_on(
    tokenizer: SpeechTokenizer, samples: Tensor, words: str
) -> None:
    waveform = noise(3000)
    with tokenizer.open_stream(16_000) as stream:
        stream.push(waveform)
        with pytest.raises(AudioError, match=words):
            stream.push(samples)
        assert torch.equal(stream.finish(), tokenizer.encode(waveform, 16_000))


def test_ten_minutes_are_counted_over_all_pieces(tokenizer: SpeechTokenizer) -> None:
    with tokenizer.open_stream(1) as stream:
        stream.push(torch.zeros(600))
        with pytest.raises(AudioError, match="10:00 min"):
            stream.push(torch.zeros(2))


def test_nothing_said(tokenizer: SpeechTokenizer) -> None:
    with tokenizer.open_stream(16_000) as stream:
        assert len(stream.push(torch.zeros(0))) == len(stream.provisional()) == 0
        with pytest.raises(AudioError, match="no samples"):
            stream.finish()


def test_an_impossible_rate(tokenizer: SpeechTokenizer) -> None:
    with pytest.raises(AudioError, match="sample rate"):
        tokenizer.open_stream(0)


def test_a_finished_stream_says_so(tokenizer: SpeechTokenizer) -> None:
    with tokenizer.open_stream(16_000) as stream:
        stream.push(noise(10))
        stream.finish()
        for call in (stream.finish, stream.provisional, lambda: stream.push(noise(1))):
            with pytest.raises(EngineError, match="open a new one"):
                call()


@pytest.mark.parametrize(
    ("changes", "n_tokens"),
    [
        ({}, 10),
        ({"quantize_causal_block_size": 200}, 50),
        ({"quantize_causal_block_size": None}, 20),
        ({"quantize_causal_block_size": 42}, 20),
        ({"encoder_causal_attention": True}, 20),
        ({"encoder_causal_convolution": False}, 20),
    ],
)
def test_tokens_that_see_each_other(changes: dict[str, object], n_tokens: int) -> None:
    assert type(CONFIG).from_dict(CONFIG.to_dict() | changes).block_tokens == n_tokens
