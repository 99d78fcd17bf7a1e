"""The recogniser around the speech tokenizer: codes in the middle, characters out (CTC).

Only the encoder and its codebook are the tokenizer; this half gives the codes their meaning.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from antiphon.errors import CheckpointError
from antiphon.training.domain.pinyin import to_pinyin

STEPS_PER_TOKEN = 4
ENGLISH = " abcdefghijklmnopqrstuvwxyz'"
BILINGUAL = ENGLISH + "12345"  # Mandarin is spelled in syllables with tone numbers
ALPHABETS = (ENGLISH, BILINGUAL)
RECOGNISER_FILE = "recogniser.safetensors"


def text_to_labels(text: str, alphabet: str = ENGLISH) -> list[int]:
    """Turn text into label ids; what the alphabet lacks is left out."""
    if alphabet == BILINGUAL:
        text = to_pinyin(text)
    letters = "".join(letter if letter in alphabet else " " for letter in text.lower())
    return [alphabet.index(letter) for letter in re.sub(r" +", " ", letters).strip()]


def labels_to_text(labels: list[int], alphabet: str = ENGLISH) -> str:
    """Turn label ids into text."""
    return "".join(alphabet[label] for label in labels)


def count_errors(pairs: Iterable[tuple[str, str]], alphabet: str) -> tuple[int, int]:
    """Count wrong letters in readings (text, read), and the letters that should have come."""
    errors = total = 0
    for text, read in pairs:
        expected = labels_to_text(text_to_labels(text, alphabet), alphabet)
        errors += edit_distance(expected, read)
        total += len(expected)
    return errors, total


def alphabet_of(n_outputs: int) -> str:
    """Tell from the size of a recogniser's last layer which alphabet it writes.

    Raises:
        CheckpointError: If it is neither of ours.
    """
    for alphabet in ALPHABETS:
        if n_outputs == STEPS_PER_TOKEN * (len(alphabet) + 1):
            return alphabet
    raise CheckpointError(
        f"a recogniser with {n_outputs} outputs; expected one of "
        f"{', '.join(str(STEPS_PER_TOKEN * (len(alphabet) + 1)) for alphabet in ALPHABETS)}"
    )


class CodeRecogniser(nn.Module):
    """Reads quantised hidden states; each token position yields four CTC steps.

    The last class is the blank, those before it are the letters of the alphabet.
    """

    def __init__(
        self,
        d_model: int,
        alphabet: str = ENGLISH,
        n_layers: int = 3,
        n_heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.alphabet = alphabet
        layer = nn.TransformerEncoderLayer(
            d_model,
            n_heads,
            4 * d_model,
            dropout=dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.position = nn.Conv1d(d_model, d_model, 7, padding=3, groups=d_model)
        self.layers = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(d_model)
        self.norm_in = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, STEPS_PER_TOKEN * (len(alphabet) + 1))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Turn (B, T, D) states with mask (B, T) into log probabilities (B, 4T, letters + 1)."""
        states = self.norm_in(hidden) * mask[..., None]
        states = states + self.position(states.transpose(1, 2)).transpose(1, 2)
        states = self.norm(self.layers(states, src_key_padding_mask=~mask))
        logits = self.head(states).unflatten(-1, (STEPS_PER_TOKEN, -1)).flatten(1, 2)
        return logits.float().log_softmax(-1)

    @torch.no_grad()
    def transcribe(self, hidden: Tensor, mask: Tensor) -> list[str]:
        """Read greedily; one text an item."""
        best = self(hidden, mask).argmax(-1)
        texts = []
        for row, length in zip(best, mask.sum(-1) * STEPS_PER_TOKEN, strict=True):
            collapsed = torch.unique_consecutive(row[:length]).tolist()
            labels = [label for label in collapsed if label < len(self.alphabet)]
            texts.append(labels_to_text(labels, self.alphabet))
        return texts


def save_recogniser(model: CodeRecogniser, folder: Path) -> None:
    """Write a reading half beside its tokenizer, in float16; a reader sees the old or the new."""
    half = {
        key: value.detach().cpu().half().contiguous() for key, value in model.state_dict().items()
    }
    temporary = folder / f"{RECOGNISER_FILE}.part"
    save_file(half, temporary, metadata={"format": "pt"})
    temporary.replace(folder / RECOGNISER_FILE)


def ctc_loss(log_probabilities: Tensor, mask: Tensor, targets: list[list[int]]) -> Tensor:
    """Mean CTC loss a label over a batch; log_probabilities (B, 4T, C), mask (B, T).

    The last of the C classes is the blank. A target may be empty: then nothing is to be heard.
    """
    lengths = torch.tensor([len(target) for target in targets])
    flat = torch.tensor([label for target in targets for label in target], dtype=torch.long)
    steps = mask.sum(-1) * STEPS_PER_TOKEN
    losses = nn.functional.ctc_loss(
        log_probabilities.transpose(0, 1),
        flat,
        steps,
        lengths,
        blank=log_probabilities.shape[-1] - 1,
        reduction="none",
        zero_infinity=True,
    )
    return losses.sum() / lengths.sum().clamp(min=1)


def edit_distance(reference: list[str] | str, hypothesis: list[str] | str) -> int:
    """Levenshtein distance between two sequences."""
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, start=1):
        previous, row[0] = row[0], i
        for j, got in enumerate(hypothesis, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (expected != got))
    return row[-1]
