"""The feed-forward half of an encoder layer."""

from torch import Tensor, nn


class PositionwiseFeedForward(nn.Module):
    """Two linear layers with SiLU (called swish in configs) between them."""

    def __init__(self, idim: int, hidden_units: int, dropout_rate: float) -> None:
        super().__init__()
        self.w_1 = nn.Linear(idim, hidden_units)
        self.activation = nn.SiLU()
        self.dropout = nn.Dropout(dropout_rate)
        self.w_2 = nn.Linear(hidden_units, idim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        return self.w_2(self.dropout(self.activation(self.w_1(x))))
