"""Blocks of many replies in one batch: each reply sounds as alone; who goes first, who together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from antiphon.errors import ConfigError
from cosyvoice.flow.flow import MaskedDiffWithXvec
from cosyvoice.flow.solving import Solving
from flow_inference import AudioDecoder, DecoderStream, decoder_batch
from flow_inference.decoder_batch import BatchOptions, DecoderBatch
from flow_inference.flow_window import Window, solve_windows
from flow_inference.stream import BlockRun

MANY = BatchOptions(max_frames=10_000, bucket_frames=10_000)
SPOKEN_TOGETHER = BatchOptions(max_frames=10_000, bucket_frames=10_000, max_voices=8)


@pytest.fixture(scope="module")
def decoder(tiny_checkpoints: Path) -> AudioDecoder:
    """A tiny decoder with few solver steps."""
    return AudioDecoder.from_pretrained(
        tiny_checkpoints / "decoder", solving=Solving(2, contrast=0.3)
    )


def draw_tokens(n_tokens: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 64, (n_tokens,), generator=generator).tolist()


@dataclass
class Decoded:
    """What a batch gave: sizes of the groups, sound of each run."""

    sizes: list[int]
    sounds: list[Tensor]


def spoken(
    batch: DecoderBatch, group: Sequence[BlockRun]
) -> list[tuple[BlockRun, Tensor | Exception]]:
    """What comes of a group."""
    return [each for each in batch.decode(group) if each is not None]


def decode_all(batch: DecoderBatch, runs: Sequence[BlockRun]) -> Decoded:
    """Decode until nothing waits."""
    sizes, sounds = [], {run: torch.zeros(0) for run in runs}
    for run in runs:
        if not run.is_done:
            batch.add(run)
    while len(batch):
        group = batch.take_group()
        sizes.append(len(group))
        for run, sound in spoken(batch, group):
            assert isinstance(sound, Tensor)
            sounds[run] = torch.cat([sounds[run], sound])
            if not run.is_done:
                batch.add(run)
    return Decoded(sizes, list(sounds.values()))


def alone(decoder: AudioDecoder, tokens: list[int], n_first: int, seed: int) -> list[Tensor]:
    with decoder.open_stream(seed=seed) as stream:
        return [stream.push(tokens[:n_first]), stream.push(tokens[n_first:]), stream.flush()]


def begin(streams: list[DecoderStream], parts: Sequence[list[int]]) -> list[BlockRun]:
    return [stream.begin_push(part) for stream, part in zip(streams, parts, strict=True)]


@given(
    st.lists(st.tuples(st.integers(0, 35), st.integers(0, 25)), min_size=2, max_size=3),
    st.sampled_from(
        [
            MANY,
            BatchOptions(),
            BatchOptions(bucket_frames=1),
            BatchOptions(frame_step=32),
            SPOKEN_TOGETHER,
        ]
    ),
)
@settings(max_examples=8, deadline=None)
def test_a_reply_sounds_as_alone(
    decoder: AudioDecoder, sizes: list[tuple[int, int]], options: BatchOptions
) -> None:
    replies = [draw_tokens(first + rest, seed) for seed, (first, rest) in enumerate(sizes)]
    streams = [decoder.open_stream(seed=seed) for seed in range(len(sizes))]
    firsts = [reply[:first] for reply, (first, _) in zip(replies, sizes, strict=True)]
    rests = [reply[first:] for reply, (first, _) in zip(replies, sizes, strict=True)]
    rounds = []
    for begin_round in (
        lambda: begin(streams, firsts),
        lambda: begin(streams, rests),
        lambda: [stream.begin_flush() for stream in streams],
    ):
        runs = begin_round()
        rounds.append(decode_all(DecoderBatch(decoder, options), runs).sounds)
    for seed, (reply, (first, _)) in enumerate(zip(replies, sizes, strict=True)):
        expected = alone(decoder, reply, first, seed)
        for found, wanted in zip((parts[seed] for parts in rounds), expected, strict=True):
            assert found.shape == wanted.shape
            assert found.numpy() == pytest.approx(wanted.numpy(), abs=1e-4)


def test_equal_blocks_go_together(decoder: AudioDecoder) -> None:
    streams = [decoder.open_stream(seed=seed) for seed in range(4)]
    batch = DecoderBatch(decoder, BatchOptions(max_frames=300))
    assert decode_all(batch, begin(streams, [draw_tokens(10)] * 4)).sizes == [3, 1]


def test_voices_that_are_solved_otherwise_wait_for_their_own(decoder: AudioDecoder) -> None:
    size = decoder.flow.spk_embed_affine_layer.in_features
    speakers = {"usual": torch.zeros(size), "other": torch.ones(size)}
    solving = Solving(2, start_at=0.5, temperature=0.2)
    two = AudioDecoder(
        decoder.flow, decoder.hift, decoder.sample_rate, solving=solving, speakers=speakers
    )
    voices, tokens = ("usual", "other", "usual", "other"), draw_tokens(10)
    streams = [two.open_stream(voice, seed=1) for voice in voices]
    batch = DecoderBatch(two, BatchOptions(max_frames=300))
    found = decode_all(batch, begin(streams, [tokens] * 4))
    assert found.sizes == [2, 2]
    for voice, sound in zip(voices, found.sounds, strict=True):
        with two.open_stream(voice, seed=1) as stream:
            assert sound.numpy() == pytest.approx(stream.push(tokens).numpy(), abs=1e-4)
    as_usual = AudioDecoder(
        decoder.flow, decoder.hift, decoder.sample_rate,
        solving=solving.for_other_voice(), speakers={"other": torch.ones(size)},
    )  # fmt: skip
    with as_usual.open_stream("other", seed=1) as stream:
        assert torch.equal(stream.push(tokens), two.open_stream("other", seed=1).push(tokens))


def test_a_block_larger_than_a_batch_goes_alone(decoder: AudioDecoder) -> None:
    streams = [decoder.open_stream(), decoder.open_stream()]
    batch = DecoderBatch(decoder, BatchOptions(max_frames=1))
    assert decode_all(batch, begin(streams, [draw_tokens(10)] * 2)).sizes == [1, 1]


def test_the_earliest_deadline_comes_first(decoder: AudioDecoder) -> None:
    streams = [decoder.open_stream() for _ in range(3)]
    runs = begin(streams, [draw_tokens(10)] * 3)
    batch = DecoderBatch(decoder, BatchOptions(max_frames=1))
    for run, deadline in zip(runs, (3.0, 1.0, 2.0), strict=True):
        batch.add(run, deadline)
    assert [batch.take_group() for _ in runs] == [[runs[1]], [runs[2]], [runs[0]]]
    assert len(batch) == 0


def test_something_else_may_be_decoded_after_each_step(decoder: AudioDecoder) -> None:
    """Two long blocks, interleaved step by step, sound as each alone."""
    streams = [decoder.open_stream(seed=seed) for seed in range(2)]
    expected = [decoder.open_stream(seed=seed).push(draw_tokens(20, seed)[:10]) for seed in (0, 1)]
    runs = begin(streams, [draw_tokens(20, seed)[:10] for seed in range(2)])
    batch = DecoderBatch(decoder)
    first, second = batch.decode(runs[:1]), batch.decode(runs[1:])
    found, n_pauses = {}, 0
    while len(found) < 2:
        for steps in (first, second):
            each = next(steps, None)
            n_pauses += each is None
            found |= {} if each is None else {each[0]: each[1]}
    assert n_pauses == 2 * (2 + 1)  # before each step of the flow and before the vocoder
    for run, wanted in zip(runs, expected, strict=True):
        sound = found[run]
        assert isinstance(sound, Tensor)
        assert torch.equal(sound, wanted)


def test_only_equal_ones_join_the_most_urgent(decoder: AudioDecoder) -> None:
    heard, *new = [decoder.open_stream() for _ in range(3)]
    heard.push(draw_tokens(10))
    long, *short = begin([heard, *new], [draw_tokens(20), draw_tokens(10), draw_tokens(10)])
    batch = DecoderBatch(decoder)
    for run, deadline in zip((short[0], long, short[1]), (1.0, 2.0, 3.0), strict=True):
        batch.add(run, deadline)
    assert batch.take_group() == short
    assert batch.take_group() == [long]


def test_what_fails_together_is_tried_one_by_one(
    decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one whose tokens start with 9 fails; the others are heard as alone."""

    def picky(
        flow: MaskedDiffWithXvec,
        windows: Sequence[Window],
        embedding: Tensor,
        solving: Solving,
        frame_step: int,
    ) -> Iterator[list[Tensor] | None]:
        if any(window.tokens[0] == 9 for window in windows):
            raise RuntimeError("a nine")
        return solve_windows(flow, windows, embedding, solving, frame_step)

    replies = [[1] * 10, [9] * 10, [2] * 10]
    expected = [decoder.open_stream().push(reply) for reply in replies]
    monkeypatch.setattr(decoder_batch, "solve_windows", picky)
    runs = begin([decoder.open_stream() for _ in replies], replies)
    found = dict(spoken(DecoderBatch(decoder), runs))
    assert str(found.pop(runs[1])) == "a nine"
    for run, wanted in ((runs[0], expected[0]), (runs[2], expected[2])):
        sound = found[run]
        assert isinstance(sound, Tensor)
        assert torch.equal(sound, wanted)


def test_a_reply_that_cannot_be_spoken_fails_alone(
    decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no voice left")

    runs = begin([decoder.open_stream() for _ in range(2)], [[1] * 10] * 2)
    monkeypatch.setattr(runs[0], "take", broken)
    found = dict(spoken(DecoderBatch(decoder), runs))
    assert str(found[runs[0]]) == "no voice left"
    assert isinstance(found[runs[1]], Tensor)


def test_who_waited_longest_comes_first(decoder: AudioDecoder) -> None:
    """A long push takes turns with others: its second block waits behind them."""
    streams = [decoder.open_stream() for _ in range(2)]
    for stream in streams:
        stream.push(draw_tokens(10))
    long, short = begin(streams, [draw_tokens(50), draw_tokens(20)])
    batch = DecoderBatch(decoder, BatchOptions(max_frames=1))
    batch.add(long)
    batch.add(short)
    for expected in (long, short, long):
        group = batch.take_group()
        assert group == [expected]
        assert [run for run, _ in spoken(batch, group)] == group
        if not expected.is_done:
            batch.add(expected)
    assert len(batch) == 0


@pytest.mark.parametrize(
    "sizes", [{"max_frames": 0}, {"bucket_frames": 0}, {"frame_step": 0}, {"max_voices": 0}]
)
def test_impossible_options_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        BatchOptions(**sizes)
