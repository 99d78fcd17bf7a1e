"""The sizes of a model of a few thousand weights, for what builds models from shapes."""

from antiphon.bench.random_model import Shape, official_shape
from antiphon.training.decoder_config import FlowSizes
from speech_tokenizer.configuration_whisper import WhisperVQConfig

N_TEXT, N_CODES = 300, 64

TINY = Shape(
    language_model={
        "num_layers": 2,
        "hidden_size": 32,
        "ffn_hidden_size": 48,
        "num_attention_heads": 4,
        "kv_channels": 8,
        "multi_query_attention": True,
        "multi_query_group_num": 2,
        "padded_vocab_size": N_TEXT + 1024 + N_CODES,
        "add_qkv_bias": True,
        "seq_length": 1024,
    },
    n_text=N_TEXT,
    speech_tokenizer=WhisperVQConfig(
        d_model=32,
        encoder_attention_heads=2,
        encoder_ffn_dim=48,
        num_mel_bins=32,
        pooling_position=1,
        quantize_position=1,
        quantize_vocab_size=N_CODES,
    ),
    flow=FlowSizes(N_CODES, 32, 2, 48, 1, (16, 16), 8, 2, 1, 1, 0.7),
    vocoder={
        **official_shape().vocoder,
        "base_channels": 16,
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]],
    },
    f0_channels=16,
)
