"""One layer of the encoder.

Source: Gulati et al., "Conformer" (arXiv 2005.08100), here without the convolution.
"""

from torch import Tensor, nn

from cosyvoice.transformer.attention import RelPositionMultiHeadedAttention
from cosyvoice.transformer.positionwise_feed_forward import PositionwiseFeedForward


class ConformerEncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with layer norm before and a residual around it."""

    def __init__(
        self,
        size: int,
        self_attn: RelPositionMultiHeadedAttention,
        feed_forward: PositionwiseFeedForward,
        dropout_rate: float,
    ) -> None:
        super().__init__()
        self.self_attn = self_attn
        self.feed_forward = feed_forward
        self.norm_ff = nn.LayerNorm(size, eps=1e-5)
        self.norm_mha = nn.LayerNorm(size, eps=1e-5)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: Tensor, mask: Tensor, pos_emb: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D); see the attention for `mask` and `pos_emb`."""
        x = x + self.dropout(self.self_attn(self.norm_mha(x), mask, pos_emb))
        return x + self.dropout(self.feed_forward(self.norm_ff(x)))
