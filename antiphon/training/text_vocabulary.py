"""Makes a small text vocabulary in the official file format: `tokenizer.model` and its config.

Byte pairs are learned inside the pieces that the GLM-4-Voice pattern cuts.
Source: Sennrich et al. 2016 (byte pair encoding). Knows nothing of the language model.
"""

import base64
import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from antiphon.errors import ConfigError
from antiphon.models.glm4voice import spec
from antiphon.models.glm4voice.text_tokenizer import bytes_to_characters

N_BYTES = 256


def train_tokenizer_model(
    texts: Iterable[str], n_ranks: int, pattern: str = spec.TEXT_PATTERN
) -> list[bytes]:
    """Learn a byte-level BPE vocabulary.

    Args:
        texts: What to learn from.
        n_ranks: Text tokens wanted, at least 256; fewer come back when the texts have no more
            repeated pairs.
        pattern: Regular expression that cuts text into pieces; no token crosses a cut.

    Returns:
        The byte string of each rank: the 256 bytes, then one for each merge, in order.

    Raises:
        ConfigError: If `n_ranks` is below 256.
    """
    if n_ranks < N_BYTES:
        raise ConfigError(f"a byte-level vocabulary needs at least {N_BYTES} ranks, got {n_ranks}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # a Chinese character at most is one token: the pattern alone would keep whole phrases
            pre_tokenizers.Split(Regex("[\u4e00-\u9fff]"), behavior="isolated"),
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=n_ranks,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    merges: list[tuple[str, str]] = json.loads(tokenizer.to_str())["model"]["merges"]
    values = {character: value for value, character in enumerate(bytes_to_characters())}
    merged = (bytes(values[character] for character in left + right) for left, right in merges)
    pieces = [bytes([value]) for value in range(N_BYTES)]
    return list(dict.fromkeys([*pieces, *merged]))  # a token reached by two merges counts once


def write_text_vocabulary(
    folder: str | Path, texts: Iterable[str], n_ranks: int, n_audio: int
) -> int:
    """Learn a vocabulary and write `tokenizer.model` and `tokenizer_config.json`.

    The special tokens follow the text in the official order, without the reserved ones; the speech
    tokens follow them.

    Args:
        folder: Where to write; made if missing.
        texts: What to learn from.
        n_ranks: Text tokens wanted.
        n_audio: Number of speech tokens (the codebook size of the speech tokenizer).

    Returns:
        The number of ids in all, the least `padded_vocab_size` of the language model.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pieces = train_tokenizer_model(texts, n_ranks)
    write_ranks(folder / "tokenizer.model", pieces)
    special_ids = spec.compact_special_ids(len(pieces), n_audio)
    config = {
        "tokenizer_class": "ChatGLM4Tokenizer",
        "padding_side": "left",
        "pad_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "added_tokens_decoder": {
            str(token_id): {"content": token, "special": True}
            for token, token_id in special_ids.items()
        },
    }
    text = json.dumps(config, ensure_ascii=False, indent=1)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
    return len(pieces) + len(special_ids)


def write_ranks(path: Path, pieces: Iterable[bytes]) -> None:
    """Write byte strings as a tiktoken file, one "base64 rank" a line."""
    lines = (
        f"{base64.b64encode(piece).decode('ascii')} {rank}\n" for rank, piece in enumerate(pieces)
    )
    path.write_text("".join(lines), encoding="ascii")
