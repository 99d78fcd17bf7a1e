"""The forward pass of a GlmForCausalLM over tokens of any conversations, all in one flat list.

Modules and weights are transformers' own; the order of calls is ours. Where keys and values go, and
what a token sees of them, its caller decides. Knows nothing of slots, batches or requests.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GlmConfig, GlmForCausalLM
from transformers.models.glm.modeling_glm import GlmAttention, GlmMLP, GlmModel, GlmRMSNorm

from antiphon.engine.attention import Heads
from antiphon.engine.cpu_threads import SMALL_MODEL
from antiphon.engine.packed_linear import Product, make_product

Attend = Callable[[int, Tensor, Tensor], Tensor]
"""Called once a layer with its number, turned queries (N, H, D) and new keys and values
(N, 2, K, D), which it stores; gives the attention of the queries, (N, H * D)."""


INT8_LAYER = "Linear8bitLt"
"""What bitsandbytes calls a linear layer with int8 weights."""


class GlmNetwork:
    """A language model without its attention over the past.

    Attributes:
        device: Where the weights lie.
        n_layers: Layers.
        heads: The shape of the heads of each; K key heads of width D, H = K * G query heads.
        vocab_size: V, rows of the embedding.
        n_weights: Numbers in all weights.
        is_recordable: Whether a CUDA graph can hold it: the model lies on a CUDA device, and no
            layer is int8, which sets outliers apart whose number differs from step to step.
    """

    def __init__(self, model: GlmForCausalLM, context_length: int) -> None:
        """Take a loaded model over; its weights stay where they are, or become views of ours.

        Args:
            model: Its weights.
            context_length: Most tokens of a conversation.
        """
        model.train(False)
        config: GlmConfig = model.config
        weight = model.model.embed_tokens.weight
        self.device: torch.device = weight.device
        self.vocab_size = int(config.vocab_size)
        self.n_layers = int(config.num_hidden_layers)
        self.heads = heads_of(model)
        self.n_weights = sum(each.numel() for each in model.parameters())
        names = {type(each).__name__ for each in model.modules()}
        self.is_recordable = weight.is_cuda and INT8_LAYER not in names
        is_packed = self.n_weights < SMALL_MODEL
        trunk: nn.Module = model.model
        assert isinstance(trunk, GlmModel)
        self._embed = trunk.embed_tokens
        self._layers = [Layer(layer, is_packed=is_packed) for layer in model.model.layers]
        self._norm = find_norm(trunk.norm)
        self._head = product_of(model.lm_head, is_packed=is_packed)
        self._rotation = Rotation(model, context_length)

    def hidden(
        self, token_ids: Tensor, positions: Tensor, attend: Attend, wanted: Tensor | None = None
    ) -> Tensor:
        """Run all layers.

        Args:
            token_ids: (N,).
            positions: Of each token in its conversation, (N,).
            attend: See `Attend`.
            wanted: Tokens whose states are needed, (n,), the only ones that the last layer
                computes beyond their keys and values; None for all.

        Returns:
            States before the last norm, (N, width) or (n, width).
        """
        x: Tensor = self._embed(token_ids)
        turn = self._rotation.at(positions)
        n_keys, width = self.heads.n_key_heads, self.heads.size
        n_queries = n_keys * self.heads.group_size
        for number, layer in enumerate(self._layers):
            heads = layer.project(x).unflatten(-1, (-1, width))  # (N, H + 2K, D)
            heads = turn(heads, n_queries + n_keys)
            new = heads[:, n_queries:].unflatten(1, (2, n_keys))  # (N, 2, K, D)
            mixed = attend(number, heads[:, :n_queries], new)
            if wanted is not None and number == self.n_layers - 1:
                x, mixed = x[wanted], mixed[wanted]
            x = layer.finish(x, mixed)
        return x

    def score(self, x: Tensor) -> Tensor:
        """Turn states (n, width) into the logits of the tokens after them, (n, V)."""
        return self._head(self._norm(x))


class Layer:
    """One layer, with its three projections before the attention joined into one."""

    def __init__(self, layer: nn.Module, *, is_packed: bool) -> None:
        """Prepare the products."""
        attention, mlp = layer.self_attn, layer.mlp
        assert isinstance(attention, GlmAttention)
        assert isinstance(mlp, GlmMLP)
        self._norms = find_norm(layer.input_layernorm), find_norm(layer.post_attention_layernorm)
        self.project_heads = join_linears(
            (attention.q_proj, attention.k_proj, attention.v_proj), is_packed=is_packed
        )
        self._project_out = product_of(attention.o_proj, is_packed=is_packed)
        self._project_up = product_of(mlp.gate_up_proj, is_packed=is_packed)
        self._project_down = product_of(mlp.down_proj, is_packed=is_packed)

    def project(self, x: Tensor) -> Tensor:
        """Give queries, keys and values side by side, (N, (H + 2K) * D)."""
        return self.project_heads(self._norms[0](x))

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Add what attention (N, H * D) and the two products after it make of it to x."""
        x = self._project_out(mixed).add_(x)
        gate, up = self._project_up(self._norms[1](x)).chunk(2, dim=-1)
        return self._project_down(F.silu(gate).mul_(up)).add_(x)


class Rotation:
    """Positions as angles: neighbouring numbers of a head's first part are turned together.

    Source: Su et al. 2021, section 3.4.2; the rest of a head, with angle 0, stays as it is.
    """

    def __init__(self, model: GlmForCausalLM, length: int) -> None:
        """Prepare all positions below `length`."""
        cos, sin = rotary_tables(model, length)
        self._complex = torch.complex(cos[:, 0::2], sin[:, 1::2]) if is_exact(cos) else None
        self._cos, self._sin = cos, sin

    def at(self, positions: Tensor) -> Callable[[Tensor, int], Tensor]:
        """Give what turns the first n heads of (N, heads, D) to these positions, (N,).

        In float32 pairs are complex numbers, and what is turned is overwritten.
        """
        if self._complex is not None:
            angles = self._complex[positions, None]  # (N, 1, D / 2)

            def turn_in_place(heads: Tensor, n: int) -> Tensor:
                torch.view_as_complex(heads[:, :n].unflatten(-1, (-1, 2))).mul_(angles)
                return heads

            return turn_in_place
        cos, sin = self._cos[positions, None], self._sin[positions, None]

        def turn(heads: Tensor, n: int) -> Tensor:
            turned = heads[:, :n]
            swapped = turned.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)  # b before a
            heads[:, :n] = torch.addcmul(turned * cos, swapped, sin)
            return heads

        return turn


def is_exact(x: Tensor) -> bool:
    """Tell whether numbers are held in float32."""
    return x.dtype == torch.float32


def heads_of(model: GlmForCausalLM) -> Heads:
    """Say what the heads of a model look like."""
    config: GlmConfig = model.config
    n_key_heads = int(config.num_key_value_heads or config.num_attention_heads)
    return Heads(
        n_key_heads=n_key_heads,
        group_size=int(config.num_attention_heads) // n_key_heads,
        size=int(config.head_dim or config.hidden_size // config.num_attention_heads),
        dtype=model.model.embed_tokens.weight.dtype,
    )


def rotary_tables(model: GlmForCausalLM, length: int) -> tuple[Tensor, Tensor]:
    """Compute cosines and signed sines of all positions, (length, head size) each.

    A pair (a, b) becomes (a cos - b sin, b cos + a sin): the sines of a are negative.
    """
    weight = model.model.embed_tokens.weight
    head_size = heads_of(model).size
    positions = torch.arange(length, device=weight.device)[None]
    tables = []
    for table, rest in zip(model.model.rotary_emb(weight, positions), (1.0, 0.0), strict=True):
        half = table[0, :, : table.shape[-1] // 2]  # the second half repeats the first
        filled = half.new_full((length, head_size), rest)
        filled[:, : table.shape[-1]] = half.repeat_interleave(2, dim=-1)
        tables.append(filled)
    cos, sin = tables
    sin[:, 0::2] *= -1
    return cos, sin


def find_norm(norm: Tensor | nn.Module) -> Product:
    """Give a norm as one call instead of six."""
    assert isinstance(norm, GlmRMSNorm)
    weight, epsilon = norm.weight, float(norm.variance_epsilon)
    return lambda x: F.rms_norm(x, x.shape[-1:], weight, epsilon)


def product_of(linear: nn.Module, *, is_packed: bool) -> Product:
    """Give a layer as a function; one that is not a plain matrix (quantized, wrapped) is called."""
    if type(linear) is not nn.Linear:
        return linear
    return make_product(linear.weight, linear.bias, is_packed=is_packed)


def join_linears(parts: Sequence[nn.Module], *, is_packed: bool) -> Product:
    """Put linear layers of one input side by side; plain ones in one matrix.

    Their parameters become views of that matrix, so that the weights are held once.
    """
    linears = [part for part in parts if type(part) is nn.Linear]
    with_bias = {linear.bias is not None for linear in linears}
    if len(linears) < len(parts) or len(with_bias) != 1:
        return lambda x: torch.cat([part(x) for part in parts], dim=-1)
    weight = join([linear.weight for linear in linears])
    bias = join([linear.bias for linear in linears]) if with_bias == {True} else None
    return make_product(weight, bias, is_packed=is_packed)


def join(parameters: Sequence[Tensor]) -> Tensor:
    """Copy parameters into one tensor, one below the other, and let them be views of it."""
    with torch.no_grad():
        joined = torch.cat([each.data for each in parameters])
        parts = joined.split([len(each) for each in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.data = part
    return joined
