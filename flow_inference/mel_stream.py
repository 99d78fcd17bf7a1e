"""Speech tokens to mel, block by block, with a bounded past. Knows nothing of waveforms."""

from typing import Protocol

import torch
from torch import Tensor

from cosyvoice.flow.flow import MaskedDiffWithXvec
from cosyvoice.flow.solving import Solving
from flow_inference.block_schedule import StreamOptions
from flow_inference.crossfade import FrameClock, crossfade
from flow_inference.flow_window import Window, decode_windows

N_MELS = 80


class WindowDecoder(Protocol):
    """Turns a stretch of tokens into mel."""

    def __call__(
        self, tokens: list[int], n_frames: int, prompt_mel: Tensor, noise: Tensor
    ) -> Tensor:
        """Return the mel after the prompt, (80, n_frames - prompt frames).

        Args:
            tokens: The prompt's tokens and the new ones.
            n_frames: Frames of all of them.
            prompt_mel: (80, prompt frames), what is known of the beginning.
            noise: Standard normal, (80, n_frames).
        """
        ...


class FlowWindow:
    """A `WindowDecoder` around the flow model, for one voice."""

    def __init__(self, flow: MaskedDiffWithXvec, embedding: Tensor, solving: Solving) -> None:
        self.flow, self.embedding, self.solving = flow, embedding, solving

    def __call__(
        self, tokens: list[int], n_frames: int, prompt_mel: Tensor, noise: Tensor
    ) -> Tensor:
        """See `WindowDecoder`."""
        window = Window(tokens, n_frames, prompt_mel, noise)
        return decode_windows(self.flow, [window], self.embedding, self.solving)[0]


class MelStream:
    """Mel of one reply, growing as its tokens come.

    Noise belongs to the frame it is drawn for, whatever the blocks: a frame keeps its noise when it
    is decoded again as part of a later window.
    """

    def __init__(
        self, decode: WindowDecoder, options: StreamOptions, clock: FrameClock, seed: int
    ) -> None:
        self._decode, self._options, self._clock = decode, options, clock
        self._generator = torch.Generator().manual_seed(seed)
        self._tokens: list[int] = []  # from number _first on
        self._first = 0
        self._n_decoded = 0  # tokens
        self._stop = 0  # token before which the window opened last ends
        self._is_last = False
        self._n_blocks = 0
        self._origin = 0  # frame number of the first column of _mel and _noise
        self._mel = torch.zeros(N_MELS, 0)  # final frames that a later block may look back at
        self._noise = torch.zeros(N_MELS, 0)
        self._held = torch.zeros(N_MELS, 0)

    @property
    def n_tokens(self) -> int:
        """Tokens taken so far."""
        return self._first + len(self._tokens)

    def push(self, tokens: list[int]) -> list[Tensor]:
        """Take tokens; return the frames that became final, (80, n) for each block completed."""
        self.take(tokens)
        found: list[Tensor] = []
        while (window := self.next_window()) is not None:
            found.append(self.accept(self.decode_window(window)))
        return found

    def flush(self) -> Tensor:
        """Return all frames not yet given out, (80, n)."""
        window = self.last_window()
        return self.release() if window is None else self.accept(self.decode_window(window))

    def take(self, tokens: list[int]) -> None:
        """Take tokens; `next_window` says what to decode, and `accept` takes its mel."""
        self._tokens += tokens

    def next_window(self) -> Window | None:
        """Open the window of the next complete block, if there is one."""
        stop = self._n_decoded + self._options.schedule.size(self._n_blocks)
        return self._open_window(stop) if stop <= self.n_tokens else None

    def last_window(self) -> Window | None:
        """Open the window of the tokens that fill no block, if there are any."""
        self._is_last = True
        return self._open_window(self.n_tokens) if self._n_decoded < self.n_tokens else None

    def accept(self, mel: Tensor) -> Tensor:
        """Take the mel of the window opened last, (80, n); return the final frames, (80, m)."""
        mel = crossfade(self._held, mel)
        n_held = 0 if self._is_last else min(self._options.overlap_frames, mel.shape[1])
        final, self._held = mel.split([mel.shape[1] - n_held, n_held], dim=1)
        self._mel = torch.cat([self._mel, final], dim=1)
        self._n_decoded, self._n_blocks = self._stop, self._n_blocks + 1
        return final

    def release(self) -> Tensor:
        """Return the frames held back, (80, n): nothing follows."""
        held, self._held = self._held, torch.zeros(N_MELS, 0)
        return held

    def decode_window(self, window: Window) -> Tensor:
        """Turn a window into mel, (80, n), alone."""
        return self._decode(window.tokens, window.n_frames, window.prompt_mel, window.noise)

    def _open_window(self, stop: int) -> Window:
        """Prepare to decode the block that ends before token `stop`."""
        start, self._stop = self._window_start(), stop
        first, last = self._clock.frames(start), self._clock.frames(stop)
        del self._tokens[: start - self._first]
        self._first = start
        self._forget_before(first)
        self._draw_noise_until(last)
        noise = self._noise[:, : last - self._origin]
        return Window(self._tokens[: stop - start], last - first, self._mel, noise)

    def _window_start(self) -> int:
        """First token of the next window: it has to reach back over the frames held back."""
        n_final = self._origin + self._mel.shape[1]
        latest = self._n_decoded
        while self._clock.frames(latest) > n_final:
            latest -= 1
        aligned = latest - latest % self._options.align_tokens
        return min(aligned, self._options.context_start(self._n_decoded))

    def _forget_before(self, frame: int) -> None:
        """Drop mel and noise of frames before `frame`."""
        surplus = frame - self._origin
        self._mel, self._noise = self._mel[:, surplus:], self._noise[:, surplus:]
        self._origin = frame

    def _draw_noise_until(self, frame: int) -> None:
        """Draw the noise of frames up to `frame`, frame by frame in order."""
        missing = frame - self._origin - self._noise.shape[1]
        if missing > 0:
            drawn = torch.randn(missing, N_MELS, generator=self._generator).T
            self._noise = torch.cat([self._noise, drawn], dim=1)
