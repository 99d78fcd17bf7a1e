"""What somebody says in one turn: kept for the record, and handed to who hears at the same time."""

import numpy as np

from antiphon.audio import Waveform
from antiphon.dialogue.session import UserTurn
from antiphon.dialogue.speech_input import SpeechInput
from antiphon.dialogue.vad import VAD_RATE
from antiphon.errors import AudioError

MAX_SPEECH_S = 600


class Utterance:
    """Sound of one turn, at `VAD_RATE`, while it is spoken.

    Args:
        before: What the same person had said just before and was not answered; the pipeline hears
            both as one.

    Attributes:
        source: Gives the sound to the pipeline as it comes.
    """

    def __init__(self, before: Waveform | None = None) -> None:
        self.source = SpeechInput()
        self._before = np.zeros(0, np.float32) if before is None else before
        self._pieces: list[Waveform] = []
        self._n_samples = 0
        self._has_reader = False
        if len(self._before):
            self.source.push(self._before)

    @property
    def duration_ms(self) -> int:
        """Length so far."""
        return self._n_samples * 1000 // VAD_RATE

    @property
    def goes_on(self) -> bool:
        """Whether it goes on with something said before."""
        return bool(len(self._before))

    @property
    def waveform(self) -> Waveform:
        """All of it, (n_samples,) float32 at `VAD_RATE`."""
        return np.concatenate([np.zeros(0, np.float32), *self._pieces])

    @property
    def heard(self) -> Waveform:
        """What the pipeline hears: also what was said before, (n_samples,) float32."""
        return np.concatenate([self._before, self.waveform])

    def push(self, samples: Waveform) -> None:
        """Add (n,) samples.

        Raises:
            AudioError: If it becomes longer than `MAX_SPEECH_S`.
        """
        if self._n_samples + len(samples) > MAX_SPEECH_S * VAD_RATE:
            raise AudioError(
                f"somebody has spoken for {MAX_SPEECH_S} s without an end; commit or clear the "
                "input earlier"
            )
        if len(samples):
            self._n_samples += len(samples)
            self._pieces.append(samples)
            self.source.push(samples)

    def live_turn(self) -> UserTurn:
        """Give the turn while it is spoken; `source.end()` ends it.

        That is for the first reader, who takes the sound from its source; others get the clip as
        it is by now.
        """
        if self._has_reader:
            return self.whole_turn()
        self._has_reader = True
        return UserTurn(speech=self.source, sample_rate=VAD_RATE)

    def whole_turn(self) -> UserTurn:
        """Give the turn as a clip, for another try."""
        return UserTurn(waveform=self.heard, sample_rate=VAD_RATE)
