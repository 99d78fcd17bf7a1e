"""Writes the decoder's config.yaml in the published format. Knows sizes only, no weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cosyvoice.flow.solving import Solving

SAMPLE_RATE = 22_050
N_MELS = 80
SPEAKER_DIM = 192

_FLOW = """\
# Sizes of the decoder. Format of the published GLM-4-Voice decoder.
sample_rate: {sample_rate}
spk_embed_dim: {speaker_dim}

flow: !new:cosyvoice.flow.flow.MaskedDiffWithXvec
    input_size: {width}
    output_size: {n_mels}
    spk_embed_dim: !ref <spk_embed_dim>
    output_type: 'mel'
    vocab_size: {vocab_size}
    input_frame_rate: 12.5
    only_mask_loss: True
{frames_per_token}    encoder: !new:cosyvoice.transformer.encoder.BlockConformerEncoder
        output_size: {width}
        attention_heads: {encoder_heads}
        linear_units: {linear_units}
        num_blocks: {encoder_layers}
        dropout_rate: 0.0
        positional_dropout_rate: 0.0
        attention_dropout_rate: 0.0
        normalize_before: True
        input_layer: 'linear'
        pos_enc_layer_type: 'rel_pos_espnet'
        selfattention_layer_type: 'block_rel_selfattn'
        block_size: 10
        input_size: {width}
        use_cnn_module: False
        macaron_style: False
    length_regulator: !new:cosyvoice.flow.length_regulator.InterpolateRegulator
        channels: {n_mels}
        sampling_ratios: [1, 1, 1, 1]
    decoder: !new:cosyvoice.flow.flow_matching.ConditionalCFM
        in_channels: {cfm_channels}
        n_spks: 1
        spk_emb_dim: {n_mels}
        cfm_params: !new:omegaconf.DictConfig
            content:
                sigma_min: 1e-06
                solver: 'euler'
                t_scheduler: 'cosine'
                training_cfg_rate: 0.2
                inference_cfg_rate: {guidance}
                reg_loss_type: 'l1'
        estimator: !new:cosyvoice.flow.decoder.ConditionalDecoder
            in_channels: {estimator_channels}
            out_channels: {n_mels}
            channels: {channels}
            dropout: 0
            attention_head_dim: {head_dim}
            n_blocks: {n_blocks}
            num_mid_blocks: {n_mid_blocks}
            num_heads: {estimator_heads}
            act_fn: 'gelu'
"""
_SOLVING = """
# How it is run; without this entry with 10 guided Euler steps. Why these: docs/decoder.md.
inference:
    n_timesteps: {n_timesteps}
    guided_steps: {guided_steps}
    start_at: {start_at}
    temperature: {temperature}
    contrast: {contrast}
"""
_HIFT = """
hift: !new:cosyvoice.hifigan.generator.HiFTGenerator
"""
_F0_PREDICTOR = """\
    f0_predictor: !new:cosyvoice.hifigan.f0_predictor.ConvRNNF0Predictor
        num_class: 1
        in_channels: {n_mels}
        cond_channels: {f0_channels}
"""


@dataclass(frozen=True)
class FlowSizes:
    """Sizes of the decoder from tokens to mel.

    Attributes:
        vocab_size: Number of speech tokens.
        width, encoder_heads, linear_units, encoder_layers: Of the encoder.
        channels: Widths of the U-Net, the finest resolution first.
        head_dim, estimator_heads: Of its attention.
        n_blocks, n_mid_blocks: Transformer blocks a level, levels at the coarsest resolution.
        guidance: Strength of guidance.
        frames_per_token: Frames that the encoder gives of a token; left out of the file if one, as
            published.
    """

    vocab_size: int
    width: int
    encoder_heads: int
    linear_units: int
    encoder_layers: int
    channels: tuple[int, ...]
    head_dim: int
    estimator_heads: int
    n_blocks: int
    n_mid_blocks: int
    guidance: float
    frames_per_token: int = 1


def render_flow(sizes: FlowSizes) -> str:
    """Write the part of config.yaml that is about tokens to mel."""
    n_frames = sizes.frames_per_token
    values = vars(sizes) | {
        "channels": list(sizes.channels),
        "frames_per_token": f"    frames_per_token: {n_frames}\n" if n_frames > 1 else "",
        "sample_rate": SAMPLE_RATE,
        "speaker_dim": SPEAKER_DIM,
        "n_mels": N_MELS,
        "cfm_channels": 3 * N_MELS,
        "estimator_channels": 4 * N_MELS,
    }
    return _FLOW.format(**values)


def render_solving(solving: Solving) -> str:
    """Write how the flow is solved, which published files leave to the program."""
    return _SOLVING.format(**vars(solving))


def render_vocoder(arguments: Mapping[str, object], f0_channels: int) -> str:
    """Write the part about the vocoder from its constructor's arguments."""
    lines = [f"    {key}: {_yaml_value(value)}\n" for key, value in arguments.items()]
    predictor = _F0_PREDICTOR.format(n_mels=N_MELS, f0_channels=f0_channels)
    return _HIFT + "".join(lines) + predictor


def _yaml_value(value: object) -> str:
    """Write numbers, lists and flat dictionaries as YAML does inline."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml_value(item)}" for key, item in value.items()) + "}"
    return str(value)


def write_config(text: str, folder: Path) -> Path:
    """Write config.yaml into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return path
