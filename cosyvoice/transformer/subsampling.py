"""The input layer of the encoder."""

from torch import Tensor, nn

from cosyvoice.transformer.embedding import EspnetRelPositionalEncoding


class LinearNoSubsampling(nn.Module):
    """Linear projection, layer norm, dropout and position encoding at the same frame rate."""

    def __init__(
        self,
        idim: int,
        odim: int,
        dropout_rate: float,
        pos_enc: EspnetRelPositionalEncoding,
    ) -> None:
        super().__init__()
        self.out = nn.Sequential(
            nn.Linear(idim, odim),
            nn.LayerNorm(odim, eps=1e-5),
            nn.Dropout(dropout_rate),
        )
        self.pos_enc = pos_enc

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Project (B, T, idim) to (B, T, odim); also give the position encoding."""
        return self.pos_enc(self.out(x))
