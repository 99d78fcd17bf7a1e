"""Mels as a decoder makes them of the corpus's speech tokens.

A vocoder that learns from these knows what it will hear: flatter mels than those of recordings, and
wrong in a way of their own.
Source: Shen et al., "Natural TTS synthesis by conditioning WaveNet on mel spectrogram predictions"
(arXiv 1712.05884), section 3.2.
"""

import logging

from antiphon.errors import ConfigError
from antiphon.training.data import CodeStore, Record
from antiphon.training.vocoder_data import MelFrames
from flow_inference.audio_decoder import AudioDecoder

logger = logging.getLogger(__name__)

SHORTEST = 2


class DecodedMels:
    """Decodes utterances, block by block as they would be spoken.

    Args:
        folder: Folder of the decoder.
        data: Folder of the corpus with its codes.
        has_voices: Whether utterances are to be decoded in their own output voice, else in the
            decoder's first.
    """

    def __init__(self, folder: str, data: str, *, has_voices: bool) -> None:
        self.decoder = AudioDecoder.from_pretrained(folder)
        self.codes, self.has_voices = CodeStore(data).load(), has_voices
        self.n_decoded = 0

    def known(self, records: list[Record]) -> list[Record]:
        """Keep the utterances that have speech tokens.

        Raises:
            ConfigError: If none has.
        """
        found = [record for record in records if len(self.codes.get(record.id, ())) >= SHORTEST]
        if not found:
            raise ConfigError(
                f"none of {len(records)} utterances has speech tokens, which decoding them takes: "
                "run `antiphon train codes` first, or leave `decoder` empty"
            )
        return found

    def __call__(self, record: Record) -> MelFrames:
        """Decode an utterance, (n_frames, 80) float32; each with noise of its own."""
        self.n_decoded += 1
        if self.n_decoded % 200 == 0:
            logger.info("%d utterances decoded", self.n_decoded)
        tokens = [int(code) for code in self.codes[record.id]]
        voice = record.output if self.has_voices else None
        mel = self.decoder.decode_mel(tokens, voice, seed=self.n_decoded)
        frames: MelFrames = mel.T.numpy()
        return frames
