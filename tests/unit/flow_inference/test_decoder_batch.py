"""Blocks of many replies in one batch: each reply sounds as alone; who goes first, who together."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from antiphon.errors import ConfigError
from flow_inference import AudioDecoder, DecoderStream
from flow_inference.decoder_batch import BatchOptions, DecoderBatch
from flow_inference.stream import BlockRun

MANY = BatchOptions(max_frames=10_000, bucket_frames=10_000)


@pytest.fixture(scope="module")
def decoder(tiny_checkpoints: Path) -> AudioDecoder:
    """A tiny decoder with few solver steps."""
    return AudioDecoder.from_pretrained(tiny_checkpoints / "decoder", n_timesteps=2)


def draw_tokens(n_tokens: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 64, (n_tokens,), generator=generator).tolist()


def decode_all(batch: DecoderBatch, runs: Sequence[BlockRun]) -> list[int]:
    """Decode until nothing waits; the sizes of the batches."""
    sizes = []
    for run in runs:
        if run.window is not None:
            batch.add(run)
    while len(batch):
        group = batch.take_group()
        batch.decode(group)
        sizes.append(len(group))
        for run in group:
            if run.window is not None:
                batch.add(run)
    return sizes


def alone(decoder: AudioDecoder, tokens: list[int], n_first: int, seed: int) -> list[Tensor]:
    with decoder.open_stream(seed=seed) as stream:
        return [stream.push(tokens[:n_first]), stream.push(tokens[n_first:]), stream.flush()]


def begin(streams: list[DecoderStream], parts: Sequence[list[int]]) -> list[BlockRun]:
    return [stream.begin_push(part) for stream, part in zip(streams, parts, strict=True)]


@given(
    st.lists(st.tuples(st.integers(0, 35), st.integers(0, 25)), min_size=2, max_size=3),
    st.sampled_from([MANY, BatchOptions(), BatchOptions(bucket_frames=1)]),
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
        decode_all(DecoderBatch(decoder, options), runs)
        rounds.append([run.samples for run in runs])
    for seed, (reply, (first, _)) in enumerate(zip(replies, sizes, strict=True)):
        expected = alone(decoder, reply, first, seed)
        for found, wanted in zip((parts[seed] for parts in rounds), expected, strict=True):
            assert found.shape == wanted.shape
            assert found.numpy() == pytest.approx(wanted.numpy(), abs=1e-4)


def test_equal_blocks_go_together(decoder: AudioDecoder) -> None:
    streams = [decoder.open_stream(seed=seed) for seed in range(4)]
    batch = DecoderBatch(decoder, BatchOptions(max_frames=300))
    assert decode_all(batch, begin(streams, [draw_tokens(10)] * 4)) == [3, 1]


def test_a_block_larger_than_a_batch_goes_alone(decoder: AudioDecoder) -> None:
    streams = [decoder.open_stream(), decoder.open_stream()]
    batch = DecoderBatch(decoder, BatchOptions(max_frames=1))
    assert decode_all(batch, begin(streams, [draw_tokens(10)] * 2)) == [1, 1]


def test_replies_not_heard_yet_come_first(decoder: AudioDecoder) -> None:
    heard, new = decoder.open_stream(), decoder.open_stream()
    heard.push(draw_tokens(10))
    later, first = heard.begin_push(draw_tokens(20)), new.begin_push(draw_tokens(10))
    batch = DecoderBatch(decoder)
    batch.add(later)
    batch.add(first)
    assert batch.take_group() == [first]
    assert batch.take_group() == [later]
    assert len(batch) == 0


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
        batch.decode(group)
        if expected.window is not None:
            batch.add(expected)
    assert len(batch) == 0


@pytest.mark.parametrize("sizes", [{"max_frames": 0}, {"bucket_frames": 0}])
def test_impossible_options_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        BatchOptions(**sizes)
