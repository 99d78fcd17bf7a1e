"""Windows decoded as one batch: each comes out as alone, whatever its neighbours and padding."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cosyvoice.flow.solving import Solving
from flow_inference.crossfade import FrameClock
from flow_inference.flow_window import Window, decode_windows
from tests.flow_shapes import small_flow

FLOW = small_flow()
SOLVING = Solving(3, guided_steps=2)


def draw_window(n_tokens: int, n_prompt: int, n_extra: int = 0) -> Window:
    """A window of random tokens; `n_extra` frames more than its tokens last."""
    generator = torch.Generator().manual_seed(100 * n_tokens + n_prompt)
    n_frames = FrameClock().frames(n_tokens) + n_extra
    tokens = torch.randint(0, 64, (n_tokens,), generator=generator).tolist()
    prompt = torch.randn(80, min(n_prompt, n_frames - 1), generator=generator)
    return Window(tokens, n_frames, prompt, torch.randn(80, n_frames, generator=generator))


def speakers(n: int) -> Tensor:
    return torch.randn(n, 192, generator=torch.Generator().manual_seed(n))


shapes = st.tuples(st.integers(1, 40), st.integers(0, 120), st.integers(0, 1))


@given(st.lists(shapes, min_size=1, max_size=5), st.sampled_from([1, 32]))
@settings(max_examples=25, deadline=None)
def test_a_window_of_a_batch_comes_out_as_alone(
    sizes: list[tuple[int, int, int]], frame_step: int
) -> None:
    windows, voices = [draw_window(*size) for size in sizes], speakers(len(sizes))
    together = decode_windows(FLOW, windows, voices, SOLVING, frame_step)
    for window, voice, mel in zip(windows, voices, together, strict=True):
        (alone,) = decode_windows(FLOW, [window], voice[None], SOLVING)
        assert mel.shape == alone.shape == (80, window.n_frames - window.prompt_mel.shape[1])
        assert float((mel - alone).abs().max()) < 1e-4


def test_a_start_from_the_encoders_mel_is_alone_in_a_batch_too() -> None:
    windows, voices = [draw_window(*size) for size in ((7, 0), (20, 30), (12, 9))], speakers(3)
    solving = Solving(3, start_at=0.3, temperature=0.5)
    together = decode_windows(FLOW, windows, voices, solving, 32)
    for window, voice, mel in zip(windows, voices, together, strict=True):
        (alone,) = decode_windows(FLOW, [window], voice[None], solving)
        (usual,) = decode_windows(FLOW, [window], voice[None], Solving(3))
        assert float((mel - alone).abs().max()) < 1e-4
        assert float((alone - usual).abs().max()) > 0.1


def test_bfloat16_is_near_and_is_not_the_same() -> None:
    window, voice = draw_window(20, 30), speakers(1)
    exact, rough = (
        decode_windows(FLOW, [window], voice, Solving(3, dtype=dtype))[0]
        for dtype in ("float32", "bfloat16")
    )
    assert rough.dtype == torch.float32
    error = float((exact - rough).abs().mean() / exact.abs().mean())
    assert 0 < error < 0.03


def test_every_input_matters() -> None:
    window, voice = draw_window(20, 30), speakers(1)
    (mel,) = decode_windows(FLOW, [window], voice, SOLVING)
    others = [
        Window(window.tokens[::-1], window.n_frames, window.prompt_mel, window.noise),
        Window(window.tokens, window.n_frames, -window.prompt_mel, window.noise),
        Window(window.tokens, window.n_frames, window.prompt_mel, -window.noise),
    ]
    for other in others:
        assert float((decode_windows(FLOW, [other], voice, SOLVING)[0] - mel).abs().max()) > 1e-3
    assert float((decode_windows(FLOW, [window], -voice, SOLVING)[0] - mel).abs().max()) > 1e-3


def test_the_trained_decoder(repo_root: Path) -> None:
    from flow_inference import AudioDecoder

    decoder = AudioDecoder.from_pretrained(repo_root / "resources/embedded/decoder")
    windows = [draw_window(10, 0), draw_window(13, 20), draw_window(11, 0)]
    voices = torch.zeros(3, decoder.flow.spk_embed_affine_layer.in_features)
    together = decode_windows(decoder.flow, windows, voices, decoder.solving)
    for window, mel in zip(windows, together, strict=True):
        (alone,) = decode_windows(decoder.flow, [window], voices[:1], decoder.solving)
        assert mel.numpy() == pytest.approx(alone.numpy(), abs=1e-4)
