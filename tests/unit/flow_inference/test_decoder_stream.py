"""The decoder as a whole, on random weights: lengths, seams, seeds, refusals."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from antiphon.errors import AntiphonError, CheckpointError, ConfigError, EngineError, PromptError
from cosyvoice.flow.solving import Solving
from flow_inference import AudioDecoder, BlockSchedule, DecoderStream, StreamOptions
from flow_inference.postfilter import raise_contrast
from flow_inference.vocoder_stream import VocoderStream


@pytest.fixture(scope="module")
def decoder(tiny_checkpoints: Path) -> AudioDecoder:
    """A tiny decoder with few solver steps, which raises the peaks of its mel."""
    return AudioDecoder.from_pretrained(
        tiny_checkpoints / "decoder", solving=Solving(2, contrast=0.3)
    )


def draw_tokens(n_tokens: int) -> list[int]:
    """Random tokens of the tiny codebook."""
    generator = torch.Generator().manual_seed(n_tokens)
    return torch.randint(0, 64, (n_tokens,), generator=generator).tolist()


def stream_all(decoder: AudioDecoder, pieces: list[list[int]]) -> list[Tensor]:
    """Push pieces and flush; the audio of each call."""
    with decoder.open_stream(seed=3) as stream:
        return [*(stream.push(piece) for piece in pieces), stream.flush()]


@pytest.mark.parametrize("n_tokens", [1, 2, 9, 10, 11, 30, 31, 60, 130])
def test_streamed_length_is_offline_length(decoder: AudioDecoder, n_tokens: int) -> None:
    tokens = draw_tokens(n_tokens)
    streamed = torch.cat(stream_all(decoder, [[token] for token in tokens]))
    offline = decoder.decode(tokens)
    assert streamed.shape == offline.shape == (256 * int(n_tokens / 12.5 * 22050 / 256),)
    assert streamed.dtype == torch.float32
    assert torch.isfinite(streamed).all()


@given(st.lists(st.integers(0, 25), max_size=5))
@settings(deadline=None, max_examples=3)
def test_calls_do_not_matter(decoder: AudioDecoder, sizes: list[int]) -> None:
    tokens = draw_tokens(32)
    pieces, start = [], 0
    for size in sizes:
        pieces.append(tokens[start : start + size])
        start += size
    pieces.append(tokens[start:])
    got = torch.cat(stream_all(decoder, pieces))
    assert torch.equal(got, torch.cat(stream_all(decoder, [tokens])))


def test_one_block_equals_offline(decoder: AudioDecoder) -> None:
    tokens = draw_tokens(37)
    with decoder.open_stream(seed=0, schedule=BlockSchedule((37,))) as stream:
        streamed = torch.cat([stream.push(tokens), stream.flush()])
    assert float((streamed - decoder.decode(tokens, seed=0)).abs().max()) < 1e-4


def test_the_mel_alone_is_what_a_stream_speaks(decoder: AudioDecoder) -> None:
    tokens = draw_tokens(37)
    mel = decoder.decode_mel(tokens, seed=3)
    vocoder = VocoderStream(decoder.hift, 3 + 1)
    spoken = torch.cat(stream_all(decoder, [tokens]))
    assert mel.shape == (80, len(spoken) // 256)
    raised = raise_contrast(mel, 0.3)
    assert not torch.allclose(raised, mel, atol=0.01)
    assert float((vocoder.push(raised, is_last=True) - spoken).abs().max()) < 1e-4
    with pytest.raises(PromptError, match="no speech tokens"):
        decoder.decode_mel([])


def test_no_click_at_the_seams(decoder: AudioDecoder) -> None:
    parts = [part for part in stream_all(decoder, [[t] for t in draw_tokens(130)]) if len(part)]
    steps = torch.cat(parts).diff().abs()
    seams = torch.tensor([len(part) for part in parts]).cumsum(0)[:-1] - 1
    assert len(seams) >= 3
    elsewhere = steps.clone()
    elsewhere[seams] = 0.0
    assert float(steps[seams].max()) <= float(elsewhere.max())


def test_first_sound_from_ten_tokens(decoder: AudioDecoder) -> None:
    with decoder.open_stream() as stream:
        assert len(stream.push(draw_tokens(9))) == 0
        assert len(stream.push([1])) > 0.25 * decoder.sample_rate


def test_a_stopped_reply_keeps_its_beginning(decoder: AudioDecoder) -> None:
    """Flushing early (stop, token limit) gives all audio of the tokens pushed so far."""
    tokens = draw_tokens(33)
    short = torch.cat(stream_all(decoder, [tokens]))
    assert len(short) == decoder.clock.samples(33)


def test_same_seed_same_sound(decoder: AudioDecoder) -> None:
    tokens = draw_tokens(12)
    assert torch.equal(decoder.decode(tokens, seed=1), decoder.decode(tokens, seed=1))
    assert not torch.equal(decoder.decode(tokens, seed=1), decoder.decode(tokens, seed=2))


def test_global_randomness_is_left_alone(decoder: AudioDecoder) -> None:
    before = torch.random.get_rng_state()
    decoder.decode(draw_tokens(3))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_row_of_a_batch_is_taken(decoder: AudioDecoder) -> None:
    tokens = draw_tokens(5)
    assert torch.equal(decoder.decode(torch.tensor([tokens])), decoder.decode(tokens))


def test_long_replies_take_blocks(decoder: AudioDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flow_inference.audio_decoder.MAX_AT_ONCE", 20)
    monkeypatch.setattr("flow_inference.audio_decoder.LONG_SCHEDULE", BlockSchedule((20, 10)))
    assert decoder.decode(draw_tokens(55)).shape == (decoder.clock.samples(55),)


def test_eval_mode(decoder: AudioDecoder) -> None:
    assert not any(module.training for module in decoder.flow.modules())
    assert not any(module.training for module in decoder.hift.modules())


@pytest.mark.parametrize(
    ("tokens", "word"),
    [
        ([], "no speech tokens"),
        ([64], "out of range"),
        ([-1], "out of range"),
        ([0.5], "whole numbers"),
        (["a"], "whole numbers"),
        ([True, False], "whole numbers"),
        ([2**70], "whole numbers"),
        (torch.zeros(2, 3, dtype=torch.int64), "one reply"),
        (torch.zeros(3), "whole numbers"),
    ],
)
def test_bad_tokens_are_refused(decoder: AudioDecoder, tokens: list[int], word: str) -> None:
    with pytest.raises(PromptError, match=word):
        decoder.decode(tokens)


def test_a_refused_push_leaves_the_stream_usable(decoder: AudioDecoder) -> None:
    with decoder.open_stream() as stream:
        stream.push(draw_tokens(4))
        with pytest.raises(PromptError):
            stream.push([1000])
        assert len(stream.flush()) == decoder.clock.samples(4)


def test_a_closed_stream_says_so(decoder: AudioDecoder) -> None:
    with decoder.open_stream() as stream:
        stream.flush()
        with pytest.raises(EngineError, match="open a new one"):
            stream.push([1])
        with pytest.raises(EngineError):
            stream.flush()
    stream.close()


def test_leaving_closes(decoder: AudioDecoder) -> None:
    with decoder.open_stream() as stream:
        stream.push(draw_tokens(4))
    with pytest.raises(EngineError):
        stream.flush()


def test_flush_of_an_empty_reply(decoder: AudioDecoder) -> None:
    with decoder.open_stream() as stream:
        assert stream.push([]).shape == (0,)
        assert stream.flush().shape == (0,)


def held_values(stream: DecoderStream) -> int:
    """Numbers that the stream keeps from block to block."""
    found = 0
    for stage in (stream._mel, stream._vocoder):
        for value in vars(stage).values():
            found += value.numel() if isinstance(value, Tensor) else 0
            found += len(value) if isinstance(value, list) else 0
    return found


@pytest.mark.slow
def test_a_block_costs_the_same_after_five_minutes(decoder: AudioDecoder) -> None:
    tokens = draw_tokens(3800)
    work, held = {}, {}
    with decoder.open_stream() as stream:
        stream.push(tokens[:120])
        for block, first in enumerate(range(120, 3770, 50)):
            with FlopCounterMode(display=False) as counter:
                assert stream.push(tokens[first : first + 50]).numel() > 80_000
            work[block], held[block] = counter.get_total_flops(), held_values(stream)
    assert len(work) == 73
    assert max(work.values()) < 1.01 * work[1]  # a frame more or less
    assert max(held.values()) < 1.05 * held[1]


def test_unknown_voice(decoder: AudioDecoder) -> None:
    with pytest.raises(ConfigError, match="default"):
        decoder.open_stream(voice="nobody")


def test_options_are_taken(decoder: AudioDecoder) -> None:
    options = StreamOptions(BlockSchedule((5,)), context_tokens=10, overlap_frames=4)
    with decoder.open_stream(schedule=options) as stream:
        total = len(stream.push(draw_tokens(23))) + len(stream.flush())
    assert total == decoder.clock.samples(23)


def damage(folder: Path, kind: str) -> None:
    """Break one file of a checkpoint."""
    path = folder / "hift.pt"
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        state = torch.load(path, weights_only=True)
        state["conv_pre.bias"] = torch.full_like(state["conv_pre.bias"], torch.nan)
        if kind == "shape":
            state["conv_pre.bias"] = torch.zeros(3)
        elif kind == "key":
            del state["conv_pre.bias"]
        torch.save(state, path)


@pytest.mark.parametrize("kind", ["missing", "truncated", "shape", "key", "nan"])
def test_damaged_checkpoints(tiny_checkpoints: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "decoder"
    shutil.copytree(tiny_checkpoints / "decoder", folder)
    damage(folder, kind)
    word = "conv_pre.bias" if kind in {"shape", "key", "nan"} else "hift.pt"
    with pytest.raises(CheckpointError, match=word):
        AudioDecoder.from_pretrained(folder)


def test_no_config(tmp_path: Path) -> None:
    with pytest.raises(AntiphonError, match="config"):
        AudioDecoder.from_pretrained(tmp_path)
