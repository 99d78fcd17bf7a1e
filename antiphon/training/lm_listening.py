"""Teaches the language model's lower layers to spell what they hear, while it is trained.

From answers alone a small model finds out late which sounds make which word; a CTC loss beside the
other gives the order for free (Kim, Hori and Watanabe 2017, arXiv 1609.06773). Thrown away after.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.models.glm.modeling_glm import GlmModel

from antiphon.training.lm_data import HeardSpeech
from antiphon.training.recogniser import STEPS_PER_TOKEN, ctc_loss

N_AFTER = 2
"""Tokens after the speech that may still spell: its last sounds have only just been heard."""


def lower_states(
    model: GlmModel, ids: Tensor, mask: Tensor, positions: Tensor, n_layers: int
) -> Tensor:
    """Hidden states (B, L, D) after the first layers alone, to save what the rest would take.

    Args:
        model: The layers with their embeddings.
        ids: (B, L) tokens.
        mask: (B, 1, L, L), added to the scores.
        positions: (B, L).
        n_layers: Layers to pass.
    """
    states = model.embed_tokens(ids)
    rotary = model.rotary_emb(states, position_ids=positions)
    for layer in model.layers[:n_layers]:
        states = layer(
            states, attention_mask=mask, position_ids=positions, position_embeddings=rotary
        )
    return states


class ListeningHead(nn.Module):
    """Reads hidden states at heard tokens as letters; each position yields four CTC steps."""

    def __init__(self, d_model: int, alphabet: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, STEPS_PER_TOKEN * (len(alphabet) + 1))

    def forward(self, hidden: Tensor, heard: Sequence[HeardSpeech]) -> Tensor:
        """Mean CTC loss a letter.

        Args:
            hidden: (B, L, D) states of a layer.
            heard: What was said; `start` counts positions of all rows end to end. Not empty.
        """
        longest = max(each.n for each in heard) + N_AFTER
        starts = torch.tensor([each.start for each in heard], device=hidden.device)
        lengths = torch.tensor([each.n + N_AFTER for each in heard], device=hidden.device)
        steps = torch.arange(longest, device=hidden.device)
        mask = steps < lengths[:, None]
        places = (starts[:, None] + steps).where(mask, starts[:, None])
        logits = self.head(self.norm(hidden.flatten(0, 1)[places]))
        letters = logits.unflatten(-1, (STEPS_PER_TOKEN, -1)).flatten(1, 2)
        return ctc_loss(
            letters.float().log_softmax(-1), mask, [list(each.labels) for each in heard]
        )
