"""What the language model is charged for each token that it predicts. Knows no network."""

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.training.lm_data import ANY_SOUND


def token_losses(logits: Tensor, targets: Tensor, audio_0: int, n_codes: int) -> Tensor:
    """Cross entropy of what comes next.

    The probability that sound comes is shared among thousands of tokens, none of which need be
    likelier than some text; so where ANY_SOUND is wanted their sum counts.

    Args:
        logits: (N, V) float32.
        targets: (N,) ids or ANY_SOUND.
        audio_0: Id of the first speech token.
        n_codes: Number of speech tokens.

    Returns:
        (N,).
    """
    losses = functional.cross_entropy(logits, targets.clamp(min=0), reduction="none")
    sound = logits.logsumexp(-1) - logits[:, audio_0 : audio_0 + n_codes].logsumexp(-1)
    return torch.where(targets == ANY_SOUND, sound, losses)
