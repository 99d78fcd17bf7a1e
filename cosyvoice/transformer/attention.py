"""Self-attention with relative positions.

Source: Dai et al., "Transformer-XL" (arXiv 1901.02860).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def shift_distances(scores: Tensor) -> Tensor:
    """Turn scores by distance into scores by key.

    Args:
        scores: (B, H, T, 2T - 1); column c belongs to the distance T - 1 - c of query minus key.

    Returns:
        (B, H, T, T); row = query, column = key.
    """
    batch, heads, n_frames, n_distances = scores.shape
    padded = functional.pad(scores, (1, 0))  # (B, H, T, 2T)
    skewed = padded.view(batch, heads, n_distances + 1, n_frames)[:, :, 1:]
    return skewed.reshape(batch, heads, n_frames, n_distances)[..., :n_frames]


class RelPositionMultiHeadedAttention(nn.Module):
    """Multi-head attention whose scores depend on content and on relative position.

    Args:
        n_head: Heads H.
        n_feat: Width D, divisible by H.
        dropout_rate: Dropout on the attention weights.
    """

    def __init__(self, n_head: int, n_feat: int, dropout_rate: float) -> None:
        super().__init__()
        self.n_head, self.d_k = n_head, n_feat // n_head
        self.dropout_rate = dropout_rate
        self.linear_q = nn.Linear(n_feat, n_feat)
        self.linear_k = nn.Linear(n_feat, n_feat)
        self.linear_v = nn.Linear(n_feat, n_feat)
        self.linear_out = nn.Linear(n_feat, n_feat)
        self.linear_pos = nn.Linear(n_feat, n_feat, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(n_head, self.d_k))
        self.pos_bias_v = nn.Parameter(torch.empty(n_head, self.d_k))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    def split_heads(self, x: Tensor) -> Tensor:
        """Reshape (B, T, D) to (B, H, T, D / H)."""
        return x.view(*x.shape[:2], self.n_head, self.d_k).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor, pos_emb: Tensor) -> Tensor:
        """Attend.

        Args:
            x: (B, T, D).
            mask: (B or 1, 1, T, T) bool, True where a key is visible to a query.
            pos_emb: (1, 2T - 1, D) position encoding.

        Returns:
            (B, T, D).
        """
        query = self.split_heads(self.linear_q(x))
        key, value = (
            self.split_heads(self.linear_k(x)),
            self.split_heads(self.linear_v(x)),
        )
        position = self.split_heads(self.linear_pos(pos_emb))  # (1, H, 2T - 1, D / H)
        by_distance = (query + self.pos_bias_v.unsqueeze(1)) @ position.transpose(-2, -1)
        bias = shift_distances(by_distance) / math.sqrt(self.d_k)
        attended = functional.scaled_dot_product_attention(
            query + self.pos_bias_u.unsqueeze(1),
            key,
            value,
            attn_mask=bias.masked_fill(~mask, -torch.inf),
            dropout_p=self.dropout_rate if self.training else 0.0,
        )
        return self.linear_out(attended.transpose(1, 2).flatten(2))  # (B, T, D)
