"""Prompts as the original server takes them: one string in which special tokens are written out.

Only this endpoint does so, because that is its contract; text of users otherwise goes through a
tokenizer that knows no special token.
"""

import re
from collections.abc import Iterator

from antiphon.errors import PromptError
from antiphon.models.base import TextTokenizer, TokenLayout

SPELLINGS = re.compile(r"\[gMASK\]|<sop>|<\|[a-z_]+\|>|<\|audio_(0|[1-9][0-9]{0,8})\|>")


class PromptStringEncoder:
    """Encodes prompt strings for one vocabulary."""

    def __init__(self, tokenizer: TextTokenizer, layout: TokenLayout) -> None:
        """Use a tokenizer for what lies between special tokens."""
        self._tokenizer = tokenizer
        self._layout = layout
        self._special_ids = {
            "<|system|>": layout.system,
            "<|user|>": layout.user,
            "<|assistant|>": layout.assistant,
            "<|observation|>": layout.observation,
            "<|begin_of_audio|>": layout.begin_of_audio,
            "<|end_of_audio|>": layout.end_of_audio,
            **dict(zip(("[gMASK]", "<sop>"), layout.prefix, strict=False)),
            **dict(zip(("<|endoftext|>",), layout.stop, strict=False)),
        }

    def encode(self, prompt: str) -> tuple[int, ...]:
        """Turn a prompt string into ids; `[gMASK] <sop>` is put first, as the original does.

        Raises:
            PromptError: If the string is empty.
        """
        ids = tuple(self._encode_parts(prompt))
        if not ids:
            raise PromptError("the prompt is empty; it needs some text")
        prefix = self._layout.prefix
        return ids if ids[: len(prefix)] == prefix else (*prefix, *ids)

    def _encode_parts(self, prompt: str) -> Iterator[int]:
        """Yield the ids of special tokens and of the text between them."""
        start = 0
        for match in SPELLINGS.finditer(prompt):
            token_id = self._find_special(match)
            if token_id is not None:
                yield from self._tokenizer.encode(prompt[start : match.start()])
                yield token_id
                start = match.end()
        yield from self._tokenizer.encode(prompt[start:])

    def _find_special(self, match: "re.Match[str]") -> int | None:
        """Give the id of what may be a special token; None if the vocabulary has no such one."""
        if match[1] is None:
            return self._special_ids.get(match[0])
        index = int(match[1])
        return self._layout.audio_0 + index if index < self._layout.n_audio else None
