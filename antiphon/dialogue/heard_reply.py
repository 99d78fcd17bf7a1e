"""What of a reply was heard, as tokens: the reply cut where the listener stopped it.

Knows ids only. A speech token is 80 ms of sound; text is heard with the sound that follows it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from antiphon.models.base import TokenLayout

TOKEN_MS = 80
"""Sound of one speech token, in ms: 12.5 of them make a second."""


@dataclass(frozen=True)
class HeardReply:
    """The beginning of a reply.

    Attributes:
        token_ids: The ids that were heard, in their order.
        n_text: Text tokens among them.
        n_audio: Speech tokens among them.
    """

    token_ids: tuple[int, ...]
    n_text: int
    n_audio: int


@dataclass(frozen=True)
class Block:
    """Text tokens and the speech tokens that follow them."""

    text: tuple[int, ...]
    audio: tuple[int, ...]


def cut_reply(reply_ids: Sequence[int], layout: TokenLayout, heard_ms: float) -> HeardReply:
    """Keep what was heard of a reply.

    Speech is cut at the token whose middle was not reached any more. The text of a block that was
    heard in part counts in proportion to its sound; text after the last sound was not heard.

    Args:
        reply_ids: Text and speech tokens of the whole reply.
        layout: Tells them apart.
        heard_ms: Sound that was played, in ms.
    """
    n_left = math.floor(max(heard_ms, 0) / TOKEN_MS + 0.5)
    text: list[int] = []
    audio: list[int] = []
    kept: list[int] = []
    for block in blocks(reply_ids, layout):
        n_audio = min(n_left, len(block.audio))
        if n_audio == 0:
            break
        n_text = math.floor(len(block.text) * n_audio / len(block.audio) + 0.5)
        text += block.text[:n_text]
        audio += block.audio[:n_audio]
        kept += (*block.text[:n_text], *block.audio[:n_audio])
        n_left -= n_audio
    return HeardReply(tuple(kept), len(text), len(audio))


def blocks(reply_ids: Sequence[int], layout: TokenLayout) -> Iterator[Block]:
    """Split a reply where text follows speech."""
    text: list[int] = []
    audio: list[int] = []
    for token_id in reply_ids:
        is_audio = layout.audio_0 <= token_id < layout.audio_0 + layout.n_audio
        if not is_audio and audio:
            yield Block(tuple(text), tuple(audio))
            text, audio = [], []
        (audio if is_audio else text).append(token_id)
    if text or audio:
        yield Block(tuple(text), tuple(audio))
