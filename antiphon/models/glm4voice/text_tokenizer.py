"""Text to ids and back for GLM-4-Voice: the official `tokenizer.model`, without remote code.

The file lists byte strings with ranks (one "base64 rank" a line). It becomes a byte-level BPE of
the `tokenizers` library that knows no special token at all, so no text can turn into one.
"""

import base64
import binascii
import codecs
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeAlias

from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from antiphon.errors import CheckpointError
from antiphon.models.base import TokenLayout
from antiphon.models.glm4voice import spec

JsonObject: TypeAlias = dict[str, object]


class IncrementalDecoder:
    """Decodes a reply id by id; a character cut over several ids appears when it is whole."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_ids: Iterable[int]) -> str:
        """Take more ids; return the text that became complete (special ids give none)."""
        return self._utf8.decode(join_pieces(self._pieces, token_ids))

    def flush(self) -> str:
        """End the text; an incomplete character becomes U+FFFD."""
        return self._utf8.decode(b"", final=True)


class GlmTextTokenizer:
    """Encodes and decodes text with a GLM-4-Voice vocabulary.

    Attributes:
        layout: Where the special ids lie.
        vocab_size: Rows of the embedding, `layout.vocab_size`.
        n_ranks: Number of text tokens; ids from here on are special.
    """

    def __init__(self, pieces: Sequence[bytes], layout: TokenLayout) -> None:
        """Build from the byte string of each text id, in the order of ids, and the special ids."""
        self._pieces = tuple(pieces)
        self._bpe = build_bpe(self._pieces)
        self.layout = layout

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Load `tokenizer.model` from a checkpoint folder.

        Special ids come from `added_tokens_decoder` in `tokenizer_config.json` where present, else
        from the official offsets; vocabulary and context sizes from `config.json` where present.

        Raises:
            CheckpointError: If a file is missing, damaged or contradicts another.
        """
        folder = Path(folder)
        pieces = read_ranks(folder / "tokenizer.model")
        special_ids = read_special_ids(folder / "tokenizer_config.json", len(pieces))
        layout = make_layout(special_ids, read_json(folder / "config.json"), str(folder))
        if min(special_ids.values()) < len(pieces):
            token = min(special_ids, key=special_ids.__getitem__)
            raise CheckpointError(
                f"{folder}: special token {token} has id {special_ids[token]}, but ids below "
                f"{len(pieces)} are text; tokenizer_config.json and tokenizer.model do not match"
            )
        return cls(pieces, layout)

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""
        return self.layout.vocab_size

    @property
    def n_ranks(self) -> int:
        """Number of text tokens."""
        return len(self._pieces)

    def encode(self, text: str) -> list[int]:
        """Encode plain text; spellings of special tokens in it stay plain text."""
        return self._bpe.encode(repair_surrogates(text), add_special_tokens=False).ids

    def decode(self, token_ids: Iterable[int]) -> str:
        """Decode ids; special ids are left out, broken UTF-8 becomes U+FFFD."""
        return join_pieces(self._pieces, token_ids).decode("utf-8", errors="replace")

    def incremental_decoder(self) -> IncrementalDecoder:
        """Open the state for decoding one reply as it comes."""
        return IncrementalDecoder(self._pieces)


def join_pieces(pieces: Sequence[bytes], token_ids: Iterable[int]) -> bytes:
    """Join the byte strings of text ids, leaving all other ids out."""
    return b"".join(pieces[i] for i in map(int, token_ids) if 0 <= i < len(pieces))


def repair_surrogates(text: str) -> str:
    """Join surrogate pairs and replace lone ones by U+FFFD, so that the text is valid UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")
    return text


def read_ranks(path: Path) -> list[bytes]:
    """Read a tiktoken file.

    Returns:
        The byte string of each rank, in order.

    Raises:
        CheckpointError: If the file is missing, a line is not "base64 rank", ranks are not
            0, 1, 2, ... or one of the 256 bytes has no token.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise CheckpointError(
            f"cannot read the text vocabulary {path}: {error.strerror}"
        ) from error
    ranks: dict[int, bytes] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            piece, rank = parse_rank_line(line, path, number)
            ranks[rank] = piece
    pieces = [ranks[rank] for rank in sorted(ranks)]
    complete = sorted(ranks) == list(range(len(ranks))) and len(set(pieces)) == len(pieces)
    if not complete or not {bytes([value]) for value in range(256)} <= set(pieces):
        raise CheckpointError(
            f"{path} is not a complete vocabulary: expected each of the 256 bytes and ranks "
            f"0, 1, 2, ... once each, got {len(ranks)} ranks; fetch the file again"
        )
    return pieces


def parse_rank_line(line: bytes, path: Path, number: int) -> tuple[bytes, int]:
    """Split one "base64 rank" line."""
    try:
        encoded, rank = line.split()
        return base64.b64decode(encoded, validate=True), int(rank)
    except (ValueError, binascii.Error) as error:
        raise CheckpointError(
            f'{path} line {number}: expected "base64 rank", got {line[:40]!r}; fetch the file again'
        ) from error


def read_json(path: Path) -> JsonObject:
    """Read a JSON object; a missing file reads as empty.

    Raises:
        CheckpointError: If the file is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got a {type(content).__name__}")
    return content


def read_special_ids(path: Path, n_ranks: int) -> dict[str, int]:
    """Read special token ids from `tokenizer_config.json`, or place them by the official offsets.

    Raises:
        CheckpointError: If `added_tokens_decoder` is not a table of id to {"content": token}.
    """
    table = read_json(path).get("added_tokens_decoder")
    if not table:
        return spec.official_special_ids(n_ranks)
    try:
        return {entry["content"]: int(key) for key, entry in table.items()}  # type: ignore[attr-defined]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f'{path}: added_tokens_decoder must map ids to {{"content": token}}: {error!r}'
        ) from error


def make_layout(special_ids: Mapping[str, int], config: JsonObject, where: str) -> TokenLayout:
    """Describe the vocabulary.

    Args:
        special_ids: Token spelling to id.
        config: Contents of the language model's `config.json`, or empty.
        where: Folder named in error messages.

    Raises:
        CheckpointError: If a needed token is missing, speech tokens have gaps or an id lies
            outside the embedding.
    """
    n_audio = count_audio_tokens(special_ids, where)
    n_ids = max(special_ids.values()) + 1
    vocab_size = read_size(config, ("padded_vocab_size", "vocab_size"), n_ids, where)
    context = ("seq_length", "max_position_embeddings")
    missing = [token for token in spec.NEEDED_TOKENS if token not in special_ids]
    if missing:
        raise CheckpointError(f"{where}: the vocabulary has no {', '.join(missing)}")
    if n_ids > vocab_size:
        raise CheckpointError(
            f"{where}: the vocabulary has ids up to {n_ids - 1}, but config.json says "
            f"vocab_size {vocab_size}; tokenizer and model do not match"
        )
    return TokenLayout(
        prefix=tuple(special_ids[token] for token in spec.PROMPT_PREFIX),
        system=special_ids["<|system|>"],
        user=special_ids["<|user|>"],
        assistant=special_ids["<|assistant|>"],
        observation=special_ids["<|observation|>"],
        begin_of_audio=special_ids["<|begin_of_audio|>"],
        end_of_audio=special_ids["<|end_of_audio|>"],
        audio_0=special_ids[spec.audio_token(0)],
        n_audio=n_audio,
        stop=tuple(special_ids[token] for token in spec.STOP_TOKENS),
        vocab_size=vocab_size,
        context_length=read_size(config, context, spec.DEFAULT_CONTEXT_LENGTH, where),
        max_turns=read_size(config, ("max_turns",), 1, where) if "max_turns" in config else None,
        interleave=read_interleave(config, where),
    )


def count_audio_tokens(special_ids: Mapping[str, int], where: str) -> int:
    """Count the speech tokens and check that their ids follow each other."""
    n_audio = sum(token.startswith("<|audio_") for token in special_ids)
    first = special_ids.get(spec.audio_token(0))
    if first is None:
        raise CheckpointError(f"{where}: the vocabulary has no speech token {spec.audio_token(0)}")
    for i in range(n_audio):
        if special_ids.get(spec.audio_token(i)) != first + i:
            raise CheckpointError(
                f"{where}: expected {spec.audio_token(i)} at id {first + i}, "
                f"got {special_ids.get(spec.audio_token(i))}"
            )
    return n_audio


def read_size(config: JsonObject, names: Sequence[str], default: int, where: str) -> int:
    """Read the first of `names` that the config has, as a positive whole number."""
    for name in names:
        if name in config:
            value = config[name]
            if not isinstance(value, int) or value < 1:
                raise CheckpointError(f"{where}/config.json: {name} must be above 0, got {value!r}")
            return value
    return default


def read_interleave(config: JsonObject, where: str) -> tuple[int, int] | None:
    """Read the numbers of text and speech tokens in a block, if the config states them."""
    found = config.get("interleave")
    if found is None:
        return None
    match found:
        case [int(n_text), int(n_audio)] if min(n_text, n_audio) > 0:
            return n_text, n_audio
    raise CheckpointError(
        f"{where}/config.json: interleave must be two whole numbers above 0, the text and "
        f"speech tokens of a block, got {found!r}"
    )


def bytes_to_characters() -> list[str]:
    """Give the printable character that stands for each byte in byte-level BPE.

    Printable Latin-1 bytes stand for themselves, the others for characters from U+0100 on, in
    order. Source: Radford et al. 2019 (GPT-2), byte-level BPE.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    shifted = iter(range(0x100, 0x200))
    return [chr(value if value in printable else next(shifted)) for value in range(256)]


def build_bpe(pieces: Sequence[bytes]) -> Tokenizer:
    """Turn ranked byte strings into a `tokenizers` BPE that encodes exactly as tiktoken does."""
    characters = bytes_to_characters()
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    names = ["".join(characters[value] for value in piece) for piece in pieces]
    merges = []
    for piece in pieces:
        split = find_last_merge(piece, ranks) if len(piece) > 1 else None
        if split is not None:
            left, right = piece[:split], piece[split:]
            merges.append((names[ranks[left]], names[ranks[right]]))
    vocab = {name: rank for rank, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    split_text = pre_tokenizers.Split(Regex(spec.TEXT_PATTERN), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split_text, to_bytes])
    return tokenizer


def find_last_merge(piece: bytes, ranks: Mapping[bytes, int]) -> int | None:
    """Find where the merge that makes `piece` joins its two halves.

    Inside any text the pairs within a token merge in the same order as in the token alone (a merge
    across its border would prevent it), so each token has one last merge.

    Returns:
        The length of the left half, or None when merging never arrives at `piece`.
    """
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while len(parts) > 2:
        pairs = [left + right for left, right in itertools.pairwise(parts)]
        best = min(range(len(pairs)), key=lambda i: ranks.get(pairs[i], len(ranks)))
        if pairs[best] not in ranks:
            return None
        parts[best : best + 2] = [pairs[best]]
    return len(parts[0])
