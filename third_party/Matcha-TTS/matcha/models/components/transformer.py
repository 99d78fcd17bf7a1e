"""The transformer block inside the U-Net. Names are checkpoint keys."""

from torch import Tensor, nn
from torch.nn import functional

FEED_FORWARD_FACTOR = 4


class SelfAttention(nn.Module):
    """Multi-head attention without biases on query, key and value."""

    def __init__(self, dim: int, heads: int, dim_head: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_k = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_v = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * dim_head, dim), nn.Dropout(dropout))

    def split_heads(self, x: Tensor) -> Tensor:
        """Reshape (B, T, H * D) to (B, H, T, D)."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Attend within (B, T, dim); the mask is as in scaled_dot_product_attention."""
        attended = functional.scaled_dot_product_attention(
            self.split_heads(self.to_q(x)),
            self.split_heads(self.to_k(x)),
            self.split_heads(self.to_v(x)),
            attn_mask=attention_mask,
        )
        return self.to_out(attended.transpose(1, 2).flatten(2))  # (B, T, dim)


class GeluProjection(nn.Module):
    """Linear layer and GELU."""

    def __init__(self, dim: int, dim_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, dim) to (B, T, dim_out)."""
        return functional.gelu(self.proj(x))


class FeedForward(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        width = FEED_FORWARD_FACTOR * dim
        self.net = nn.Sequential(
            GeluProjection(dim, width), nn.Dropout(dropout), nn.Linear(width, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, dim) to (B, T, dim)."""
        return self.net(x)


class BasicTransformerBlock(nn.Module):
    """Self-attention and feed-forward, each with layer norm before and a residual around it."""

    def __init__(
        self,
        dim: int,
        num_attention_heads: int,
        attention_head_dim: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = SelfAttention(dim, num_attention_heads, attention_head_dim, dropout)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, dropout)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Map (B, T, dim) to (B, T, dim).

        Args:
            hidden_states: Input.
            attention_mask: Broadcasts to (B, H, T, T): bool, True where a key is visible, or float,
                added to the scores. None when every key is visible.
        """
        hidden = hidden_states + self.attn1(self.norm1(hidden_states), attention_mask)
        return hidden + self.ff(self.norm3(hidden))
