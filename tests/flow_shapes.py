"""Flow decoders for tests: the published sizes without memory, and a small one."""

import torch

from cosyvoice.flow.decoder import ConditionalDecoder
from cosyvoice.flow.flow import MaskedDiffWithXvec
from cosyvoice.flow.flow_matching import ConditionalCFM
from cosyvoice.flow.length_regulator import InterpolateRegulator
from cosyvoice.transformer.encoder import BlockConformerEncoder
from matcha.models.components.flow_matching import FlowMatchingOptions


def full_size_flow() -> MaskedDiffWithXvec:
    """The published decoder on the meta device."""
    with torch.device("meta"):
        return make_flow(512, 8, 2048, 6, (256, 256), 64, 4, 12, 8, 16384)


def small_flow(seed: int = 0, frames_per_token: int = 1) -> MaskedDiffWithXvec:
    """A decoder for 64 tokens with random weights, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow = make_flow(32, 2, 48, 2, (16, 16), 8, 1, 1, 2, 64, frames_per_token)
        for parameter in flow.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return flow.eval()


def make_flow(
    width: int,
    heads: int,
    linear_units: int,
    n_layers: int,
    channels: tuple[int, ...],
    head_dim: int,
    n_blocks: int,
    n_mid_blocks: int,
    estimator_heads: int,
    vocab_size: int,
    frames_per_token: int = 1,
) -> MaskedDiffWithXvec:
    """A decoder with the published options and these dimensions."""
    encoder = BlockConformerEncoder(
        width, width, heads, linear_units, n_layers, 0.1, 0.1, 0.1, block_size=10
    )
    estimator = ConditionalDecoder(
        320, 80, channels, 0.0, head_dim, n_blocks, n_mid_blocks, estimator_heads
    )
    return MaskedDiffWithXvec(
        width,
        80,
        192,
        "mel",
        vocab_size,
        12.5,
        frames_per_token=frames_per_token,
        encoder=encoder,
        length_regulator=InterpolateRegulator(80, [1, 1, 1, 1]),
        decoder=ConditionalCFM(240, FlowMatchingOptions(), 1, 80, estimator=estimator),
    )
