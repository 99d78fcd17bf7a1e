"""Tells a person from the reply's own sound that comes back through the microphone.

Compares levels in bands, frame by frame: what the reply explains, at a delay and a loudness that
are learned while it plays, is echo. Knows no turns; the server knows what it sent and, from the
client's reports, what is played.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from antiphon.audio import Waveform
from antiphon.realtime.reply_levels import (
    FLOOR_DB,
    HOP_MS,
    N_BANDS,
    LevelMeter,
    Levels,
    ReplyLevels,
)

LEAST_DELAY, MOST_DELAY = -6, 100
"""Ways from the player to the microphone's sound that are looked for, in hops: -48 to 800 ms."""

MEMORY = 64
"""Microphone frames that are remembered: 2 s."""

FIRST_GAIN_DB = -6.0
"""Loudness of the echo beside the reply before anything is known of it: wary rather than quick."""

FIRST_WEIGHT = 12  # frames that the first guess counts for
GAIN_QUANTILE = 0.6
NOISE_QUANTILE = 0.1  # of what is heard: the room, when nobody speaks
MARGIN_DB = 7.0
"""How much louder than the expected echo a band must be to count as somebody else's."""

FOREIGN_SHARE = 0.35  # of a frame's loud bands, for the frame to be somebody else's
LOUD_DB = 25.0  # bands at most so far below the loudest of the frame are loud
MIN_CORRELATION = 0.5
MIN_ALIGNED = 12  # frames; fewer tell no delay
UNALIGNED_FRAMES = 48  # without an echo that is recognised, before there seems to be none
ALIGN_EVERY = 4  # frames
SMEAR = 2  # hops to both sides in which the reply may be, for the delay is not exact
NEEDED_SCORE = 3.0
LEAK = 0.25  # what a frame that is no one else's takes from the score


@dataclass(frozen=True, eq=False)
class HeardFrame:
    """A frame of the microphone while a reply plays.

    Attributes:
        levels: (N_BANDS,) in dB.
        hop: The reply's hop that was played, by the client's report, as the frame ended.
    """

    levels: Levels
    hop: int


class EchoGuard:
    """Watches one call.

    Attributes:
        is_active: Whether a reply plays.
        delay_ms: The echo's delay after the client's reports; None while it is not known.
        gain_db: Loudness of the echo beside the reply, (N_BANDS,).
    """

    def __init__(self) -> None:
        self.is_active = False
        self.gain_db: Levels = np.full(N_BANDS, FIRST_GAIN_DB, np.float32)
        self._first_gain_db = self.gain_db
        self._noise_db: Levels = np.full(N_BANDS, FLOOR_DB, np.float32)
        self._delay: int | None = None
        self._meter = LevelMeter()
        self._reply = ReplyLevels(self._meter)
        self._frames: deque[HeardFrame] = deque(maxlen=MEMORY)
        self._ahead_ms = 0.0  # of the microphone's clock, the reply is
        self._n_frames = 0
        self._score = 0.0
        self._n_since = 0

    @property
    def delay_ms(self) -> int | None:
        """The echo's delay after the client's reports; None while it is not known."""
        return None if self._delay is None else self._delay * HOP_MS

    def begin(self, input_ms: float) -> None:
        """A reply begins to sound at `input_ms` of the microphone; what was learned stays."""
        self._reply = ReplyLevels(self._meter)
        self._frames.clear()
        self._first_gain_db = self.gain_db
        self._score, self._n_since = 0.0, 0
        self.note_position(0.0, input_ms)

    def add(self, samples: Waveform) -> None:
        """Take more of the reply, (n,) float32 at the detector's rate."""
        self._reply.add(samples)

    def note_position(self, played_ms: float, input_ms: float) -> None:
        """The client had played `played_ms` when the microphone's sound was `input_ms` long."""
        self._ahead_ms = played_ms - input_ms

    def push(self, frame: Waveform, probability: float, threshold: float, end_ms: float) -> int:
        """Judge a frame of the microphone while a reply plays.

        Args:
            frame: (FRAME_SIZE,) float32.
            probability: How likely it is speech, anybody's.
            threshold: From where that counts.
            end_ms: Where in the microphone's sound the frame ends.

        Returns:
            Frames since a person began to interrupt; 0 if nobody does.
        """
        hop = round((end_ms + self._ahead_ms) / HOP_MS) - 1
        heard = HeardFrame(self._meter.measure(frame[None])[0], hop)
        self._frames.append(heard)
        self._n_frames += 1
        if self._n_frames % ALIGN_EVERY == 0:
            self._learn()
        is_foreign = probability >= threshold and self._foreign_share(heard) > FOREIGN_SHARE
        return self._count(is_foreign)

    def _count(self, is_foreign: bool) -> int:
        self._score = max(self._score + (1.0 if is_foreign else -LEAK), 0.0)
        self._n_since = self._n_since + 1 if self._score > 0 else 0
        if self._score < NEEDED_SCORE:
            return 0
        n_since, self._score, self._n_since = self._n_since, 0.0, 0
        return n_since

    def _foreign_share(self, heard: HeardFrame) -> float:
        """Tell which share of the loud bands the reply does not explain."""
        loud = heard.levels > max(float(heard.levels.max()) - LOUD_DB, FLOOR_DB + 10)
        if not loud.any():
            return 0.0
        expected = np.maximum(self._expect(heard.hop), self._noise_db)
        foreign = heard.levels > expected + MARGIN_DB
        return float(foreign[loud].mean())

    def _expect(self, hop: int) -> Levels:
        """Say how loud the echo is at most; without a known delay anything recent may be it."""
        levels = self._reply.levels
        if self._delay is None:
            first, last = hop - MOST_DELAY, hop - LEAST_DELAY
        else:
            first, last = hop - self._delay - SMEAR, hop - self._delay + SMEAR
        span = levels[max(first, 0) : max(last + 1, 0)]
        loudest = span.max(axis=0) if len(span) else np.full(N_BANDS, FLOOR_DB, np.float32)
        return np.asarray(np.maximum(loudest + self.gain_db, FLOOR_DB))

    def _learn(self) -> None:
        """Find the delay, then the loudness, from the frames that are remembered."""
        heard = np.stack([each.levels for each in self._frames])  # (n, N_BANDS)
        hops = np.array([each.hop for each in self._frames])
        self._noise_db = np.quantile(heard, NOISE_QUANTILE, axis=0)
        self._delay = self._find_delay(heard, hops, self._reply.levels)
        if self._delay is None and len(self._frames) < UNALIGNED_FRAMES:
            return  # silence so far may mean that the echo is late
        expected = np.stack([self._expect(hop) for hop in hops]) - self.gain_db
        for band in range(N_BANDS):
            is_sounding = expected[:, band] > FLOOR_DB + 15
            ratios = heard[is_sounding, band] - expected[is_sounding, band]
            first = np.full(FIRST_WEIGHT, self._first_gain_db[band], np.float32)
            self.gain_db[band] = np.quantile(np.concatenate([ratios, first]), GAIN_QUANTILE)

    def _find_delay(self, heard: Levels, hops: np.ndarray, levels: Levels) -> int | None:
        """Find the delay at which the reply looks most like what was heard; None if at none."""
        delays = np.arange(LEAST_DELAY, MOST_DELAY + 1)
        places = hops[None] - delays[:, None]  # (n_delays, n)
        is_inside = (places >= 0) & (places < len(levels))
        if len(hops) < MIN_ALIGNED or is_inside.sum(1).max() < MIN_ALIGNED:
            return self._delay
        reply = levels[np.clip(places, 0, len(levels) - 1)]  # (n_delays, n, N_BANDS)
        weight = is_inside[..., None].astype(np.float32)
        n_inside = np.maximum(weight.sum(1, keepdims=True), 1)
        reply = (reply - (reply * weight).sum(1, keepdims=True) / n_inside) * weight
        mine = (heard - (heard * weight).sum(1, keepdims=True) / n_inside) * weight
        products = (reply * mine).sum((1, 2))
        sizes = np.sqrt((reply**2).sum((1, 2)) * (mine**2).sum((1, 2))) + 1e-6
        correlations = np.where(is_inside.sum(1) >= MIN_ALIGNED, products / sizes, -1.0)
        best = int(correlations.argmax())
        return int(delays[best]) if correlations[best] >= MIN_CORRELATION else self._delay
