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
TRIED_DELAYS = np.arange(LEAST_DELAY, MOST_DELAY + 1, 4)  # while it is not known; a frame apart
MIN_TRIED = 6  # frames in which an echo at a delay would have been heard, before that counts
FAR_DELAY = 63  # hops: later echoes are rare, and weaker
FAR_GAIN_DB = -20.0
SOUNDING_DB = 15.0  # above the floor, for a band of the reply to be looked for
ALIGN_EVERY = 4  # frames
SMEAR = 2  # hops to both sides in which the reply may be, for the delay is not exact
NEEDED_SCORE = 3.0
SURE_SCORE = 2.0  # where no echo was found at any delay, as without a guard
NO_ECHO_DB = -22.0
LEAK = 0.25  # what a frame that is no one else's takes from the score


@dataclass(frozen=True, eq=False)
class HeardFrame:
    """A frame of the microphone while a reply plays.

    Attributes:
        levels: (N_BANDS,) in dB.
        hop: The reply's hop that was played, by the client's report, as the frame ended.
        is_person: Whether no echo explains it, at whatever delay; nothing is learned from it. Once
            a delay was found, it may be the delay that is wrong, and all is learned from.
    """

    levels: Levels
    hop: int
    is_person: bool


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
        self._tried_db: Levels = self._untried()
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
        self._tried_db = self._untried()
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
        levels = self._meter.measure(frame[None])[0]
        is_foreign = self._foreign_share(levels, hop) > FOREIGN_SHARE
        self._frames.append(HeardFrame(levels, hop, is_foreign and self._delay is None))
        self._n_frames += 1
        if self._n_frames % ALIGN_EVERY == 0:
            self._learn()
        return self._count(is_foreign and probability >= threshold)

    def _count(self, is_foreign: bool) -> int:
        self._score = max(self._score + (1.0 if is_foreign else -LEAK), 0.0)
        self._n_since = self._n_since + 1 if self._score > 0 else 0
        if self._score < (SURE_SCORE if self._has_no_echo else NEEDED_SCORE):
            return 0
        n_since, self._score, self._n_since = self._n_since, 0.0, 0
        return n_since

    @property
    def _has_no_echo(self) -> bool:
        """Whether every delay was tried, and nothing came back at any."""
        return self._delay is None and float(self._tried_db.max()) < NO_ECHO_DB

    def _foreign_share(self, levels: Levels, hop: int) -> float:
        """Tell which share of a frame's loud bands the reply does not explain."""
        loud = levels > max(float(levels.max()) - LOUD_DB, FLOOR_DB + 10)
        if not loud.any():
            return 0.0
        expected = np.maximum(self._expect(hop), self._noise_db)
        foreign = levels > expected + MARGIN_DB
        return float(foreign[loud].mean())

    def _expect(self, hop: int) -> Levels:
        """Say how loud the echo is at most; without a known delay anything recent may be it."""
        if self._delay is None:
            return self._expect_any(hop)
        return np.asarray(np.maximum(self._loudest(hop) + self.gain_db, FLOOR_DB))

    def _loudest(self, hop: int) -> Levels:
        """Give the loudest of the reply that may come back now, (N_BANDS,)."""
        first, last = LEAST_DELAY, MOST_DELAY
        if self._delay is not None:
            first, last = self._delay - SMEAR, self._delay + SMEAR
        span = self._reply.levels[max(hop - last, 0) : max(hop - first + 1, 0)]
        return span.max(axis=0) if len(span) else np.full(N_BANDS, FLOOR_DB, np.float32)

    def _expect_any(self, hop: int) -> Levels:
        """Say how loud the echo is at most at any delay, as far as each was tried already."""
        gain_db = np.minimum(self.gain_db, self._tried_db[:, None])  # (n_delays, N_BANDS)
        expected = self._at(hop - TRIED_DELAYS) + gain_db
        return np.asarray(np.maximum(expected.max(axis=0), FLOOR_DB))

    def _at(self, hops: np.ndarray) -> Levels:
        """Give the reply's levels at any hops, (..., N_BANDS); silence before and after it."""
        levels = self._reply.levels
        if not len(levels):
            return np.full((*hops.shape, N_BANDS), FLOOR_DB, np.float32)
        is_inside = (hops >= 0) & (hops < len(levels))
        found = levels[np.clip(hops, 0, len(levels) - 1)]
        return np.where(is_inside[..., None], found, np.float32(FLOOR_DB))

    @staticmethod
    def _untried() -> Levels:
        """Loudness of the echo beside the reply at each of `TRIED_DELAYS` before it was tried."""
        return np.where(TRIED_DELAYS > FAR_DELAY, FAR_GAIN_DB, np.inf).astype(np.float32)

    def _try_delays(self, heard: Levels, hops: np.ndarray) -> None:
        """Find how loud an echo at each delay can be at most: where none came, there is none.

        So a person with headphones interrupts soon, long before it is sure that nothing comes back.
        """
        reply = self._at(hops[None] - TRIED_DELAYS[:, None])  # (n_delays, n, N_BANDS)
        is_sounding = reply > np.maximum(self._noise_db, FLOOR_DB) + SOUNDING_DB
        for number, mask in enumerate(is_sounding):
            if mask.any(axis=1).sum() >= MIN_TRIED:
                ratios = (heard - reply[number])[mask]
                self._tried_db[number] = np.quantile(ratios, GAIN_QUANTILE)

    def _learn(self) -> None:
        """Find the delay, then the loudness, from the frames that are remembered."""
        known = [each for each in self._frames if not each.is_person]
        if not known:
            return
        heard = np.stack([each.levels for each in known])  # (n, N_BANDS)
        hops = np.array([each.hop for each in known])
        self._noise_db = np.quantile(heard, NOISE_QUANTILE, axis=0)
        self._delay = self._find_delay(heard, hops, self._reply.levels)
        if self._delay is None:
            self._try_delays(heard, hops)
        if self._delay is None and len(self._frames) < UNALIGNED_FRAMES:
            return  # silence so far may mean that the echo is late
        expected = np.stack([self._loudest(hop) for hop in hops])
        for band in range(N_BANDS):
            is_sounding = expected[:, band] > FLOOR_DB + SOUNDING_DB
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
