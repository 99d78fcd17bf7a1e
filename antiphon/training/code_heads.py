"""What speech tokens must tell beside the characters: the phones said there, and how they sounded.

Both heads see a token and its two neighbours only, so that each token has to hold the sound of its
own 80 ms: a recogniser alone is content with tokens that speak of a word anywhere in their block,
and a decoder cannot make sound of those. Used in training only.
"""

from torch import Tensor, nn

from antiphon.training.pronunciation import N_PHONES
from antiphon.training.recogniser import STEPS_PER_TOKEN

FRAMES_PER_TOKEN = 8


class LocalHead(nn.Module):
    """A token and its neighbours in, `n_out` values out."""

    def __init__(self, d_model: int, n_out: int, width: int = 256) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.near = nn.Conv1d(d_model, width, 3, padding=1)
        self.out = nn.Linear(width, n_out)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Turn (B, T, D) states with mask (B, T) into (B, T, n_out)."""
        states = self.norm(hidden) * mask[..., None]
        near = self.near(states.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.out(nn.functional.gelu(near))
        return out


class PhoneHead(LocalHead):
    """Four CTC steps of phones for each token; the last class is the blank."""

    def __init__(self, d_model: int, n_phones: int = N_PHONES) -> None:
        super().__init__(d_model, STEPS_PER_TOKEN * (n_phones + 1))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Turn (B, T, D) states into log probabilities (B, 4T, n_phones + 1)."""
        logits = super().forward(hidden, mask).unflatten(-1, (STEPS_PER_TOKEN, -1))
        return logits.flatten(1, 2).float().log_softmax(-1)


class MelHead(LocalHead):
    """Eight frames of log mel for each token.

    With several voices it is told which one speaks, so that codes need not hold that.
    """

    def __init__(self, d_model: int, n_mels: int, n_voices: int = 1) -> None:
        super().__init__(d_model, FRAMES_PER_TOKEN * n_mels)
        self.n_mels = n_mels
        self.voices = nn.Embedding(n_voices, d_model) if n_voices > 1 else None

    def forward(self, hidden: Tensor, mask: Tensor, voice: Tensor | None = None) -> Tensor:
        """Turn (B, T, D) states into log mel (B, n_mels, 8T); voice (B,) is who speaks."""
        if self.voices is not None and voice is not None:
            hidden = hidden + self.voices(voice)[:, None]
        frames = super().forward(hidden, mask).unflatten(-1, (FRAMES_PER_TOKEN, self.n_mels))
        return frames.flatten(1, 2).transpose(1, 2).float()


def mel_loss(mel: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error over real tokens; mel and wanted (B, n_mels, 8T), mask (B, T)."""
    real = mask.repeat_interleave(FRAMES_PER_TOKEN, dim=1)[:, None]
    n_values = (real.sum() * mel.shape[1]).clamp(min=1)
    return ((mel - wanted).abs() * real).sum() / n_values
