"""A speech tokenizer with random weights whose segments are 20 tokens, in blocks of 10."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from speech_tokenizer.configuration_whisper import WhisperVQConfig
from speech_tokenizer.features import log_mel_spectrogram
from speech_tokenizer.modeling_whisper import WhisperVQEncoder

SEGMENT = 20 * 1280  # max_source_positions 80 frames of 320 samples

CONFIG = WhisperVQConfig(
    d_model=32,
    encoder_attention_heads=2,
    encoder_ffn_dim=48,
    num_mel_bins=32,
    max_source_positions=80,
    pooling_position=2,
    quantize_position=2,
    quantize_vocab_size=64,
    quantize_causal_block_size=40,
)
POOLED_EARLY = replace(CONFIG, pooling_position=1, quantize_position=3)


def noise(n_samples: int, seed: int = 0) -> Tensor:
    return 0.2 * torch.randn(n_samples, generator=torch.Generator().manual_seed(seed))


def write_checkpoint(folder: Path, config: WhisperVQConfig = CONFIG) -> Path:
    torch.manual_seed(7)
    model = WhisperVQEncoder(config)
    with torch.no_grad():
        model.embed_positions.weight.mul_(0.01)  # else the place alone would decide the token
        waveforms = torch.stack([noise(SEGMENT, seed) for seed in range(100, 120)])
        hidden, _ = model.hidden_before_vq(log_mel_spectrogram(waveforms, 32))
    model.quantizer.initialise(hidden, torch.Generator().manual_seed(1))
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    save_file(model.state_dict(), folder / "model.safetensors")  # without {"format": "pt"}
    return folder
