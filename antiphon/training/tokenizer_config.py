"""Settings of the task that trains the speech tokenizer, and the encoder they describe."""

from dataclasses import dataclass

from antiphon.errors import ConfigError
from antiphon.training.domain.table import SMALL
from antiphon.training.task import TaskConfig
from speech_tokenizer.configuration_whisper import WhisperVQConfig


@dataclass(frozen=True)
class TokenizerTaskConfig(TaskConfig):
    """How the speech tokenizer is trained.

    Attributes:
        domain: "small" (English letters and phones) or "full" (Mandarin syllables beside them).
        batch_s: Seconds of padded audio in a batch.
        d_model, n_layers, n_heads: Size of the encoder.
        n_fast_layers: Layers before the pooling, at 50 Hz; the others run at 12.5 Hz for a quarter
            of the work. 0 pools after all of them.
        look_nearby: How sharply the heads of a fresh encoder look at places nearby; 0 leaves them
            to find those by themselves.
        dropout: Of the recogniser.
        use_muon: Whether the layers' matrices are learned with Muon in place of AdamW.
        block_frames: Frames (50 Hz) of a block that is attended to as a whole.
        n_mels: Mel channels.
        codebook_size: Number of speech tokens.
        quantise_from: Share of the run after which the codes are switched on.
        ema_decay, commitment: Codebook decay and weight of the commitment loss.
        augment_strength: Factor on the probability of each acoustic effect.
        is_wide: Whether the wide set of effects and vocal tracts of other lengths are used.
        phone_weight, mel_weight: Weights of the phones and of the mel that codes have to tell.
        n_loaders: Processes that make batches ahead; 0 makes them in a thread.
        n_processes: Processes that learn together on the processor, each from batches of its own.
    """

    run: str = "runs/tokenizer"
    out: str = "resources/embedded/tokenizer"
    domain: str = SMALL
    batch_s: float = 64.0
    learning_rate: float = 2e-3
    d_model: int = 192
    n_layers: int = 4
    n_heads: int = 4
    n_fast_layers: int = 0
    look_nearby: float = 0.0
    dropout: float = 0.1
    use_muon: bool = False
    block_frames: int = 64
    n_mels: int = 80
    codebook_size: int = 1024
    quantise_from: float = 0.35
    ema_decay: float = 0.98
    commitment: float = 0.25
    augment_strength: float = 0.5
    is_wide: bool = False
    phone_weight: float = 0.5
    mel_weight: float = 1.0
    n_loaders: int = 0
    n_processes: int = 1


def encoder_config(config: TokenizerTaskConfig) -> WhisperVQConfig:
    """Describe the small encoder in the official configuration's terms.

    Raises:
        ConfigError: If a setting is not acceptable.
    """
    if not 0 <= config.n_fast_layers <= config.n_layers:
        raise ConfigError(
            f"n_fast_layers={config.n_fast_layers} must be from 0 to n_layers={config.n_layers}"
        )
    return WhisperVQConfig.from_dict(
        {
            "d_model": config.d_model,
            "encoder_layers": config.n_layers,
            "encoder_attention_heads": config.n_heads,
            "encoder_ffn_dim": 4 * config.d_model,
            "num_mel_bins": config.n_mels,
            "max_source_positions": 1500,
            "pooling_kernel_size": 4,
            "pooling_type": "avg",
            "pooling_position": config.n_fast_layers or config.n_layers,
            "quantize_vocab_size": config.codebook_size,
            "quantize_position": config.n_layers,
            "quantize_causal_block_size": config.block_frames,
        }
    )
