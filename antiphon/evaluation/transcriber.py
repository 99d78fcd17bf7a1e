"""What speech tokens still say: the recogniser half of the tokenizer reads them as text."""

from pathlib import Path

import torch
from torch import Tensor

from antiphon.checkpoints import load_safetensors
from antiphon.errors import CheckpointError
from antiphon.training.recogniser import RECOGNISER_FILE, CodeRecogniser, alphabet_of


class CodeTranscriber:
    """Transcribes speech tokens; Mandarin comes as syllables with tone numbers.

    Args:
        folder: The speech tokenizer's folder; holds `recogniser.safetensors`.
        codebook: Codes, (K, D).
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

    def transcribe(self, codes: Tensor) -> str:
        """Write down (T,) speech tokens, greedily."""
        if not len(codes):
            return ""
        mask = torch.ones(1, len(codes), dtype=torch.bool)
        return self.model.transcribe(self.codebook[codes][None], mask)[0]
