"""What the language model is charged for each token that it predicts. Knows no network."""

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.dialogue.prompt import first_special_id
from antiphon.models.base import TokenLayout
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


def token_weights(
    before: Tensor, targets: Tensor, layout: TokenLayout, audio: float, resumed: float
) -> Tensor:
    """Say how much each token counts that is to be predicted.

    Args:
        before: (N,) the ids after which they come.
        targets: (N,) ids or ANY_SOUND.
        layout: Where sound and text lie.
        audio: Weight of a speech token; a text token counts 1.
        resumed: Weight of a text token right after sound: a block of text that goes on has to find
            where the one before it ended, and hardly more than one token in a reply tells that.

    Returns:
        (N,) float32.
    """
    is_text = (targets >= 0) & (targets < first_special_id(layout))
    weights = torch.where(targets >= layout.audio_0, audio, 1.0)
    return torch.where(is_text & (before >= layout.audio_0), resumed, weights)
