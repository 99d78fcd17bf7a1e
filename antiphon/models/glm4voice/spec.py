"""What is fixed about GLM-4-Voice checkpoints: names and order of special tokens, constants.

Source: the public model card, chat template and tokenizer configuration of glm-4-voice-9b.
Knows nothing of files or tensors.
"""

from dataclasses import dataclass

TEXT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How text is cut into pieces before byte pairs are merged inside each piece."""

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
"""Special tokens in the order of their ids; the first follows the last text rank."""

AUDIO_OFFSET = 1024
"""Distance of `<|audio_0|>` from the number of text ranks (reserved tokens fill the gap)."""

N_AUDIO = 16_384
"""Speech tokens of the official speech tokenizer."""

PROMPT_PREFIX = ("[gMASK]", "<sop>")
STOP_TOKENS = ("<|endoftext|>", "<|user|>", "<|observation|>")
NEEDED_TOKENS = (
    *PROMPT_PREFIX,
    *STOP_TOKENS,
    "<|system|>",
    "<|assistant|>",
    "<|begin_of_audio|>",
    "<|end_of_audio|>",
)
"""Tokens without which no dialogue can be written."""

DEFAULT_CONTEXT_LENGTH = 8192
"""Context of the official model, used where no config.json says otherwise."""


@dataclass(frozen=True)
class HubNames:
    """Where the official parts live on the hub."""

    speech_tokenizer: str = "zai-org/glm-4-voice-tokenizer"
    language_model: str = "zai-org/glm-4-voice-9b"
    decoder: str = "zai-org/glm-4-voice-decoder"


OFFICIAL_HUB_NAMES = HubNames()


def audio_token(index: int) -> str:
    """Spell speech token `index` as the vocabulary does."""
    return f"<|audio_{index}|>"


def official_special_ids(n_ranks: int, n_audio: int = N_AUDIO) -> dict[str, int]:
    """Place the special tokens after `n_ranks` text tokens as the official vocabulary does.

    Args:
        n_ranks: Number of text tokens (151,329 in the official vocabulary).
        n_audio: Number of speech tokens.

    Returns:
        Token spelling to id, in the order of ids; reserved ids are left out.
    """
    ids = {token: n_ranks + offset for offset, token in enumerate(SPECIAL_TOKENS)}
    ids.update({audio_token(i): n_ranks + AUDIO_OFFSET + i for i in range(n_audio)})
    return ids


def compact_special_ids(n_ranks: int, n_audio: int) -> dict[str, int]:
    """Place the special tokens without the reserved gap, for small vocabularies.

    Args:
        n_ranks: Number of text tokens.
        n_audio: Number of speech tokens.

    Returns:
        Token spelling to id, in the order of ids.
    """
    names = [*SPECIAL_TOKENS, *(audio_token(i) for i in range(n_audio))]
    return {token: n_ranks + offset for offset, token in enumerate(names)}
