"""Tiny checkpoints with random weights in the official file formats, three parts that fit together.

The language model is random too, but its special and reserved rows are silent, so that it only says
text and speech tokens and never stops by itself: replies end at `max_new_tokens`.
"""

import base64
import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

N_SPEECH_TOKENS = 64
WORDS = (" the", " of", " and", " hello", " world", "ing", " one", " two", " is", "你好")
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
    "<|begin_of_audio|>",
    "<|end_of_audio|>",
    "<|begin_of_transcription|>",
    "<|end_of_transcription|>",
)
SPEECH_WIDTH, SPEECH_LAYERS, SPEECH_FFN = 32, 2, 64
LM_WIDTH, LM_LAYERS, LM_FFN, LM_HEADS, LM_GROUPS = 32, 2, 48, 4, 2
CONTEXT_LENGTH = 1024
PADDING_ROWS = 11
FORMAT = {"format": "pt"}


def write_json(path: Path, content: dict[str, object]) -> None:
    """Write one JSON file."""
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Draw weights scaled by fan-in; norms lie around 1, biases around 0."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if "norm" in key and key.endswith("weight"):
            weights[key] = 1 + 0.1 * noise
        elif len(shape) < 2:
            weights[key] = 0.1 * noise
        else:
            weights[key] = noise * math.prod(shape[1:]) ** -0.5
    return weights


def whisper_shapes(width: int, ffn: int, n_layers: int) -> dict[str, tuple[int, ...]]:
    """List keys and shapes of the published speech tokenizer format."""
    shapes: dict[str, tuple[int, ...]] = {
        "conv1.weight": (width, 128, 3),
        "conv1.bias": (width,),
        "conv2.weight": (width, width, 3),
        "conv2.bias": (width,),
        "embed_positions.weight": (1500, width),
        "embed_positions2.weight": (375, width),
        "codebook.weight": (N_SPEECH_TOKENS, width),
        "ema_count": (N_SPEECH_TOKENS,),
        "ema_weight": (N_SPEECH_TOKENS, width),
    }
    for layer in (f"layers.{number}." for number in range(n_layers)):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"{layer}self_attn.{name}.weight"] = (width, width)
            if name != "k_proj":
                shapes[f"{layer}self_attn.{name}.bias"] = (width,)
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            shapes |= {f"{layer}{name}.weight": (width,), f"{layer}{name}.bias": (width,)}
        shapes |= {f"{layer}fc1.weight": (ffn, width), f"{layer}fc1.bias": (ffn,)}
        shapes |= {f"{layer}fc2.weight": (width, ffn), f"{layer}fc2.bias": (width,)}
    return shapes


def write_tiny_speech_tokenizer(folder: Path) -> Path:
    """Write a speech tokenizer of 64 codes."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["WhisperVQEncoder"],
        "model_type": "whisper",
        "d_model": SPEECH_WIDTH,
        "encoder_layers": SPEECH_LAYERS,
        "num_hidden_layers": SPEECH_LAYERS,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": SPEECH_FFN,
        "num_mel_bins": 128,
        "max_source_positions": 1500,
        "activation_function": "gelu",
        "scale_embedding": False,
        "pooling_kernel_size": 4,
        "pooling_type": "avg",
        "pooling_position": SPEECH_LAYERS,
        "quantize_vocab_size": N_SPEECH_TOKENS,
        "quantize_position": SPEECH_LAYERS,
        "quantize_causal_block_size": 200,
        "quantize_causal_encoder": False,
        "quantize_encoder_only": True,
        "encoder_causal_attention": False,
        "encoder_causal_convolution": True,
        "quantize_ema_decay": 0.99,
        "quantize_commit_coefficient": 0.25,
        "quantize_loss_scale": 10.0,
        "quantize_restart_interval": 100,
        "torch_dtype": "float32",
    }
    features = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 128,
        "sampling_rate": 16000,
        "n_fft": 400,
        "hop_length": 160,
        "chunk_length": 30,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
    write_json(folder / "config.json", config)
    write_json(folder / "preprocessor_config.json", features)
    weights = random_weights(whisper_shapes(SPEECH_WIDTH, SPEECH_FFN, SPEECH_LAYERS), seed=1)
    save_file(weights, folder / "model.safetensors", metadata=FORMAT)
    return folder


def merges(word: bytes, known: set[bytes]) -> Iterator[bytes]:
    """Yield the prefixes of `word` that are not yet tokens, shortest first."""
    for end in range(2, len(word) + 1):
        if word[:end] not in known:
            yield word[:end]


def text_ranks() -> list[bytes]:
    """List the text tokens by rank: all bytes, then a few words letter by letter."""
    ranks = [bytes([value]) for value in range(256)]
    for word in WORDS:
        ranks.extend(merges(word.encode(), set(ranks)))
    return ranks


def token_contents(n_text: int) -> dict[int, str]:
    """Map the ids after the text tokens to their special tokens."""
    audio = (f"<|audio_{number}|>" for number in range(N_SPEECH_TOKENS))
    return dict(enumerate((*SPECIAL_TOKENS, *audio), start=n_text))


def write_tiny_text_tokenizer(folder: Path) -> int:
    """Write tokenizer.model and tokenizer_config.json; return the padded vocabulary size."""
    ranks = text_ranks()
    lines = (f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(ranks))
    (folder / "tokenizer.model").write_text("".join(lines), encoding="ascii")
    contents = token_contents(len(ranks))
    flags = {
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
        "special": True,
    }
    added = {str(token_id): {"content": content, **flags} for token_id, content in contents.items()}
    config = {
        "tokenizer_class": "ChatGLM4Tokenizer",
        "padding_side": "left",
        "added_tokens_decoder": added,
    }
    write_json(folder / "tokenizer_config.json", config)
    return len(ranks) + len(contents) + PADDING_ROWS


def chatglm_shapes(n_vocabulary: int) -> dict[str, tuple[int, ...]]:
    """List keys and shapes of the published language model format."""
    width, head = LM_WIDTH, LM_WIDTH // LM_HEADS
    fused = (LM_HEADS + 2 * LM_GROUPS) * head
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.embedding.word_embeddings.weight": (n_vocabulary, width),
        "transformer.encoder.final_layernorm.weight": (width,),
        "transformer.output_layer.weight": (n_vocabulary, width),
        "transformer.rotary_pos_emb.inv_freq": (head // 4,),
    }
    for layer in (f"transformer.encoder.layers.{number}." for number in range(LM_LAYERS)):
        shapes |= {
            f"{layer}input_layernorm.weight": (width,),
            f"{layer}post_attention_layernorm.weight": (width,),
            f"{layer}self_attention.query_key_value.weight": (fused, width),
            f"{layer}self_attention.query_key_value.bias": (fused,),
            f"{layer}self_attention.dense.weight": (width, width),
            f"{layer}mlp.dense_h_to_4h.weight": (2 * LM_FFN, width),
            f"{layer}mlp.dense_4h_to_h.weight": (width, LM_FFN),
        }
    return shapes


def lm_config(n_vocabulary: int, stop: list[int]) -> dict[str, object]:
    """Build the config.json of the tiny language model."""
    return {
        "architectures": ["ChatGLMModel"],
        "model_type": "chatglm",
        "num_layers": LM_LAYERS,
        "num_hidden_layers": LM_LAYERS,
        "hidden_size": LM_WIDTH,
        "ffn_hidden_size": LM_FFN,
        "num_attention_heads": LM_HEADS,
        "kv_channels": LM_WIDTH // LM_HEADS,
        "multi_query_attention": True,
        "multi_query_group_num": LM_GROUPS,
        "padded_vocab_size": n_vocabulary,
        "vocab_size": n_vocabulary,
        "layernorm_epsilon": 3.90625e-08,
        "rope_ratio": 1,
        "original_rope": True,
        "add_qkv_bias": True,
        "add_bias_linear": False,
        "rmsnorm": True,
        "post_layer_norm": True,
        "apply_query_key_layer_scaling": True,
        "attention_softmax_in_fp32": True,
        "apply_residual_connection_post_layernorm": False,
        "bias_dropout_fusion": True,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "fp32_residual_connection": False,
        "tie_word_embeddings": False,
        "use_cache": True,
        "seq_length": CONTEXT_LENGTH,
        "eos_token_id": stop,
        "pad_token_id": stop[0],
        "torch_dtype": "float32",
    }


def write_tiny_lm(folder: Path) -> Path:
    """Write a language model in ChatGLM layout whose vocabulary holds the 64 speech tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    n_vocabulary = write_tiny_text_tokenizer(folder)
    n_text = len(text_ranks())
    first_audio = n_text + len(SPECIAL_TOKENS)
    stop = [
        n_text + SPECIAL_TOKENS.index(f"<|{name}|>")
        for name in ("endoftext", "user", "observation")
    ]
    write_json(folder / "config.json", lm_config(n_vocabulary, stop))
    weights = random_weights(chatglm_shapes(n_vocabulary), seed=2)
    head = weights["transformer.output_layer.weight"]
    loudness = torch.zeros(n_vocabulary, 1)  # special tokens and padding: never the likeliest
    loudness[32:127] = loudness[256:n_text] = 4.0  # ASCII and the words
    loudness[first_audio : first_audio + N_SPEECH_TOKENS] = 5.0
    head *= loudness
    save_file(weights, folder / "model.safetensors", metadata=FORMAT)
    return folder


DECODER_CONFIG = f"""\
__set_seed1: !apply:random.seed [1986]
__set_seed2: !apply:torch.manual_seed [1986]
sample_rate: 22050
spk_embed_dim: 192
llm: !new:cosyvoice.llm.llm.TransformerLM
    text_encoder_input_size: 32
flow: !new:cosyvoice.flow.flow.MaskedDiffWithXvec
    input_size: 32
    output_size: 80
    spk_embed_dim: !ref <spk_embed_dim>
    output_type: 'mel'
    vocab_size: {N_SPEECH_TOKENS}
    input_frame_rate: 12.5
    only_mask_loss: True
    encoder: !new:cosyvoice.transformer.encoder.BlockConformerEncoder
        output_size: 32
        attention_heads: 2
        linear_units: 48
        num_blocks: 1
        dropout_rate: 0.1
        positional_dropout_rate: 0.1
        attention_dropout_rate: 0.1
        normalize_before: True
        input_layer: 'linear'
        pos_enc_layer_type: 'rel_pos_espnet'
        selfattention_layer_type: 'block_rel_selfattn'
        block_size: 10
        input_size: 32
        use_cnn_module: False
        macaron_style: False
    length_regulator: !new:cosyvoice.flow.length_regulator.InterpolateRegulator
        channels: 80
        sampling_ratios: [1, 1, 1, 1]
    decoder: !new:cosyvoice.flow.flow_matching.ConditionalCFM
        in_channels: 240
        n_spks: 1
        spk_emb_dim: 80
        cfm_params: !new:omegaconf.DictConfig
            content:
                sigma_min: 1e-06
                solver: 'euler'
                t_scheduler: 'cosine'
                training_cfg_rate: 0.2
                inference_cfg_rate: 0.7
                reg_loss_type: 'l1'
        estimator: !new:cosyvoice.flow.decoder.ConditionalDecoder
            in_channels: 320
            out_channels: 80
            channels: [16, 16]
            dropout: 0
            attention_head_dim: 8
            n_blocks: 1
            num_mid_blocks: 1
            num_heads: 2
            act_fn: 'gelu'
hift: !new:cosyvoice.hifigan.generator.HiFTGenerator
    in_channels: 80
    base_channels: 16
    nb_harmonics: 8
    sampling_rate: !ref <sample_rate>
    nsf_alpha: 0.1
    nsf_sigma: 0.003
    nsf_voiced_threshold: 10
    upsample_rates: [8, 8]
    upsample_kernel_sizes: [16, 16]
    istft_params:
        n_fft: 16
        hop_len: 4
    resblock_kernel_sizes: [3]
    resblock_dilation_sizes: [[1, 3, 5]]
    source_resblock_kernel_sizes: [7, 11]
    source_resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5]]
    lrelu_slope: 0.1
    audio_limit: 0.99
    f0_predictor: !new:cosyvoice.hifigan.f0_predictor.ConvRNNF0Predictor
        num_class: 1
        in_channels: 80
        cond_channels: 16
"""


def write_tiny_decoder(folder: Path) -> Path:
    """Write config.yaml, flow.pt and hift.pt for 64 speech tokens."""
    from cosyvoice.config import load_decoder_config

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(DECODER_CONFIG, encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        parts = load_decoder_config(path)
    torch.save(parts.flow.state_dict(), folder / "flow.pt")
    torch.save(parts.hift.state_dict(), folder / "hift.pt")
    return folder


def write_tiny_checkpoints(folder: Path) -> Path:
    """Write all three parts below `folder`: tokenizer/, lm/, decoder/."""
    write_tiny_speech_tokenizer(folder / "tokenizer")
    write_tiny_lm(folder / "lm")
    write_tiny_decoder(folder / "decoder")
    return folder
