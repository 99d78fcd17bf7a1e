"""The encoder of speech tokens: conformer layers whose attention ends with the query's own block.

Only what published decoders use is here; other options of the configuration are refused.
"""

from torch import Tensor, nn

from antiphon.errors import ConfigError
from cosyvoice.transformer.attention import RelPositionMultiHeadedAttention
from cosyvoice.transformer.embedding import EspnetRelPositionalEncoding
from cosyvoice.transformer.encoder_layer import ConformerEncoderLayer
from cosyvoice.transformer.positionwise_feed_forward import PositionwiseFeedForward
from cosyvoice.transformer.subsampling import LinearNoSubsampling
from cosyvoice.utils.mask import block_causal_mask, make_valid_mask


class BlockConformerEncoder(nn.Module):
    """Encodes speech tokens so that a frame depends on its past and its own block alone.

    Later tokens beyond the block never change earlier outputs. Names are keys of config.yaml.

    Args:
        input_size: Width of the input.
        output_size: Width D.
        attention_heads: Heads, a divisor of D.
        linear_units: Width of the feed-forward layers.
        num_blocks: Number of layers.
        dropout_rate: Dropout after each half of a layer.
        positional_dropout_rate: Dropout on the position encoding.
        attention_dropout_rate: Dropout on the attention weights.
        input_layer: "linear".
        pos_enc_layer_type: "rel_pos_espnet".
        selfattention_layer_type: "block_rel_selfattn".
        activation_type: "swish".
        normalize_before: True.
        use_cnn_module: False.
        macaron_style: False.
        block_size: Frames in a block.

    Raises:
        ConfigError: If an option asks for what is not here, or sizes do not fit.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int = 256,
        attention_heads: int = 4,
        linear_units: int = 2048,
        num_blocks: int = 6,
        dropout_rate: float = 0.1,
        positional_dropout_rate: float = 0.1,
        attention_dropout_rate: float = 0.0,
        input_layer: str = "linear",
        pos_enc_layer_type: str = "rel_pos_espnet",
        selfattention_layer_type: str = "block_rel_selfattn",
        activation_type: str = "swish",
        normalize_before: bool = True,
        use_cnn_module: bool = False,
        macaron_style: bool = False,
        block_size: int = 25,
    ) -> None:
        super().__init__()
        _refuse_others("input_layer", input_layer, "linear")
        _refuse_others("pos_enc_layer_type", pos_enc_layer_type, "rel_pos_espnet")
        _refuse_others("selfattention_layer_type", selfattention_layer_type, "block_rel_selfattn")
        _refuse_others("activation_type", activation_type, "swish")
        _refuse_others("normalize_before", normalize_before, True)
        _refuse_others("use_cnn_module", use_cnn_module, False)
        _refuse_others("macaron_style", macaron_style, False)
        if output_size % (2 * attention_heads):
            raise ConfigError(
                f"output_size {output_size} must be a multiple of 2 x {attention_heads} heads"
            )
        self._output_size, self.block_size = output_size, block_size
        self.embed = LinearNoSubsampling(
            input_size,
            output_size,
            dropout_rate,
            EspnetRelPositionalEncoding(output_size, positional_dropout_rate),
        )
        self.after_norm = nn.LayerNorm(output_size, eps=1e-5)
        self.encoders = nn.ModuleList(
            ConformerEncoderLayer(
                output_size,
                RelPositionMultiHeadedAttention(
                    attention_heads, output_size, attention_dropout_rate
                ),
                PositionwiseFeedForward(output_size, linear_units, dropout_rate),
                dropout_rate,
            )
            for _ in range(num_blocks)
        )

    def output_size(self) -> int:
        """Width of the output."""
        return self._output_size

    def forward(self, xs: Tensor, xs_lens: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Args:
            xs: (B, T, input_size).
            xs_lens: (B,) valid frames, at least 1 each.

        Returns:
            (B, T, D), and the (B, 1, T) bool mask of valid frames.
        """
        valid = make_valid_mask(xs_lens.to(xs.device), xs.shape[1]).unsqueeze(1)  # (B, 1, T)
        visible = valid.unsqueeze(1) & block_causal_mask(xs.shape[1], self.block_size, xs.device)
        hidden, pos_emb = self.embed(xs)
        for layer in self.encoders:
            hidden = layer(hidden, visible, pos_emb)
        return self.after_norm(hidden), valid


def _refuse_others(name: str, value: object, known: object) -> None:
    """Refuse an option that is not implemented."""
    if value != known:
        raise ConfigError(f"encoder option {name}: {value!r} is not supported; expected {known!r}")
