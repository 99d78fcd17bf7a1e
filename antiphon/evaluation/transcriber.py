"""What speech tokens still say: the recogniser half of the tokenizer reads them as text."""

from pathlib import Path

import torch
from torch import Tensor

from antiphon.checkpoints import load_safetensors
from antiphon.errors import CheckpointError
from antiphon.training.beam_reading import BeamReader
from antiphon.training.letter_grams import LETTERS_FILE
from antiphon.training.letter_model import load_letters
from antiphon.training.recogniser import (
    RECOGNISER_FILE,
    CodeRecogniser,
    alphabet_of,
    labels_to_text,
)


class CodeTranscriber:
    """Transcribes speech tokens; Mandarin comes as syllables with tone numbers.

    Args:
        folder: The speech tokenizer's folder; holds `recogniser.safetensors` and, where what is
            read shall also be likely as a text, `letters.safetensors`.
        codebook: Codes, (K, D).

    Raises:
        CheckpointError: If there is no recogniser, or a file is damaged or of another alphabet.
    """

    def __init__(self, folder: str | Path, codebook: Tensor) -> None:
        path = Path(folder) / RECOGNISER_FILE
        if not path.exists():
            raise CheckpointError(
                f"{path} is missing: only tokenizers trained here have a recogniser"
            )
        self.codebook = codebook.float()
        weights = {key: value.float() for key, value in load_safetensors(path).items()}
        self.alphabet = alphabet_of(len(weights["head.bias"]))
        self.model = CodeRecogniser(codebook.shape[1], self.alphabet).eval()
        self.model.load_state_dict(weights)
        self.reader: BeamReader | None = None
        if (path.parent / LETTERS_FILE).exists():
            self.reader = BeamReader(load_letters(path.parent, len(self.alphabet)))

    @torch.no_grad()
    def transcribe(self, codes: Tensor, greedy: bool = False) -> str:
        """Write down (T,) speech tokens; greedily as if there were no letter model."""
        if not len(codes):
            return ""
        mask = torch.ones(1, len(codes), dtype=torch.bool)
        hidden = self.codebook[codes][None]
        if greedy or self.reader is None:
            return self.model.transcribe(hidden, mask)[0]
        labels = self.reader.read(self.model(hidden, mask)[0].numpy())
        return labels_to_text(labels, self.alphabet)
