"""The vocoder in pieces equals the vocoder at once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cosyvoice.hifigan.f0_predictor import ConvRNNF0Predictor
from cosyvoice.hifigan.frame_span import FrameSpan
from cosyvoice.hifigan.generator import HiFTGenerator
from flow_inference.vocoder_stream import VocoderStream, push_together

SHAPES = {
    "official": {"upsample_rates": (8, 8), "upsample_kernel_sizes": (16, 16)},
    "embedded": {
        "upsample_rates": (4, 4),
        "upsample_kernel_sizes": (8, 8),
        "istft_params": {"n_fft": 64, "hop_len": 16},
    },
}


def build(name: str) -> HiFTGenerator:
    """A narrow vocoder with random weights that speaks at an audible level."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(5)
        model = HiFTGenerator(
            base_channels=8, f0_predictor=ConvRNNF0Predictor(cond_channels=8), **SHAPES[name]
        )
        torch.nn.init.constant_(model.f0_predictor.classifier.bias, 150.0)
    model.remove_weight_norm()
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=sorted(SHAPES))
def hift(request: pytest.FixtureRequest) -> HiFTGenerator:
    """Both shapes."""
    return build(request.param)


def draw_mel(n_frames: int) -> Tensor:
    """A random mel (80, n_frames)."""
    return torch.randn(80, n_frames, generator=torch.Generator().manual_seed(6))


def in_pieces(hift: HiFTGenerator, mel: Tensor, sizes: list[int]) -> Tensor:
    """Push pieces of the given sizes, then the rest as the last."""
    stream = VocoderStream(hift, seed=7)
    found, start = [], 0
    for size in sizes:
        found.append(stream.push(mel[:, start : start + size]))
        start = min(start + size, mel.shape[1])
    return torch.cat([*found, stream.push(mel[:, start:], is_last=True)])


@given(st.integers(1, 60), st.data())
@settings(max_examples=30, deadline=None)
def test_a_part_is_cut_out_of_the_whole(
    hift: HiFTGenerator, n_frames: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, n_frames - 1))
    kept = FrameSpan(start, data.draw(st.integers(start + 1, n_frames)))
    mel = draw_mel(n_frames)[None]
    source = hift.source(hift.predict_f0(mel), generator=torch.Generator().manual_seed(1))
    whole, part = hift.decode(mel, source), hift.decode(mel, source, kept)
    assert torch.allclose(part, FrameSpan(0, n_frames).cut(whole, kept, hift.hop_length), atol=1e-5)


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 60), min_size=2, max_size=2), st.booleans()),
        min_size=2,
        max_size=4,
    )
)
@settings(max_examples=20, deadline=None)
def test_many_at_once_are_as_one_by_one(
    hift: HiFTGenerator, replies: list[tuple[list[int], bool]]
) -> None:
    mels = [[draw_mel(n) for n in sizes] for sizes, _ in replies]
    together = [VocoderStream(hift, seed) for seed in range(len(replies))]
    alone = [VocoderStream(hift, seed) for seed in range(len(replies))]
    for part in range(2):
        are_last = [ends and part == 1 for _, ends in replies]
        pushed = [mel[part] for mel in mels]
        found = push_together(together, pushed, are_last)
        for stream, mel, is_last, sound in zip(alone, pushed, are_last, found, strict=True):
            wanted = stream.push(mel, is_last)
            assert sound.shape == wanted.shape
            assert torch.allclose(sound, wanted, atol=1e-4)


def test_context_of_the_official_shape() -> None:
    assert build("official").context_frames <= 16


@given(st.lists(st.integers(0, 60), max_size=8))
@settings(deadline=None, max_examples=5)
def test_pieces_equal_the_whole(sizes: list[int]) -> None:
    for name in SHAPES:
        model, mel = build(name), draw_mel(130)
        whole = in_pieces(model, mel, [])
        pieces = in_pieces(model, mel, sizes)
        assert whole.shape == pieces.shape == (130 * 256,)
        assert float((whole - pieces).abs().max()) < 1e-4


def test_context_is_not_too_short(hift: HiFTGenerator) -> None:
    """A change of the mel beyond the context leaves a sample alone."""
    context = hift.context_frames
    mel = torch.zeros(1, 80, 3 * context + 4)
    source = torch.randn(1, 1, mel.shape[2] * 256, generator=torch.Generator().manual_seed(8))
    changed, changed_source = mel.clone(), source.clone()
    edge = mel.shape[2] - context
    changed[:, :, edge:] += 1.0
    changed_source[:, :, edge * 256 :] = 0.0
    before, after = hift.decode(mel, source), hift.decode(changed, changed_source)
    untouched = (edge - context) * 256
    assert float((before - after)[:, :untouched].abs().max()) < 1e-6
    assert float((before - after).abs().max()) > 1e-3


def test_excitation_runs_on(hift: HiFTGenerator) -> None:
    """Equal to the vocoder's own source of the whole mel, phase and all."""
    mel = draw_mel(100)
    stream = VocoderStream(hift, seed=7)
    stream.push(mel[:, :60])
    stream.push(mel[:, 60:], is_last=True)
    again = VocoderStream(hift, seed=7)
    again.push(mel, is_last=True)
    assert torch.allclose(stream._cycles, again._cycles, atol=1e-6)


def test_seed_decides(hift: HiFTGenerator) -> None:
    mel = draw_mel(40)
    first, second, other = (VocoderStream(hift, seed).push(mel, is_last=True) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_nothing_in_nothing_out(hift: HiFTGenerator) -> None:
    assert VocoderStream(hift, 0).push(torch.zeros(80, 0), is_last=True).shape == (0,)
