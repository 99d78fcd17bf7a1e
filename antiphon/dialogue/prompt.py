r"""Turns to prompt ids, in the words the published model was trained on. Knows no model, no audio.

Source: GLM-4-Voice, web demo: `<|system|>\n...<|user|>\n...<|assistant|>streaming_transcription\n`,
each later turn directly after the completion before it; the first turn decides the system prompt.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.dialogue.session import Turn, TurnKind
from antiphon.errors import AudioError, PromptError
from antiphon.models.base import TextTokenizer, TokenLayout

logger = logging.getLogger(__name__)

N_TEXT_BLOCK = 13  # text tokens, then
N_AUDIO_BLOCK = 26  # speech tokens, in turns: the ratio the system prompt states
REPLY_MODE = "streaming_transcription\n"
SYSTEM_TEMPLATE = (
    "User will provide you with a {kind} instruction. Do it step by step. First, think about the "
    "instruction and respond in a interleaved manner, with 13 text token followed by "
    "26 audio tokens."
)
MIN_REPLY_SHARE = 4  # a quarter of the context is kept for the reply before old turns are dropped


@dataclass(frozen=True)
class FittedPrompt:
    """A prompt that fits the context, and how many of the oldest turns had to go for it."""

    token_ids: tuple[int, ...]
    n_dropped_turns: int


def system_prompt(kind: TurnKind) -> str:
    """Give the trained-in instruction; the one for speech ends in a space, as published."""
    text = SYSTEM_TEMPLATE.format(kind=kind)
    return text + " " if kind == "speech" else text


def first_special_id(layout: TokenLayout) -> int:
    """Give the lowest special id; all ids below are text."""
    roles = (layout.system, layout.user, layout.assistant, layout.observation)
    audio = (layout.begin_of_audio, layout.end_of_audio, layout.audio_0)
    return min((*layout.prefix, *layout.stop, *roles, *audio))


def text_turn(text: str, layout: TokenLayout, tokenizer: TextTokenizer) -> Turn:
    """Turn typed words into an unanswered turn.

    Raises:
        PromptError: If there are no words, or the tokenizer let a special token through.
    """
    if not text.strip():
        raise PromptError("the message is empty; type a question or give a clip")
    token_ids = tuple(tokenizer.encode("\n" + text))
    limit = first_special_id(layout)
    special = sorted({token_id for token_id in token_ids if not 0 <= token_id < limit})
    if special:
        raise PromptError(f"user text became special token ids {special}; text ids end at {limit}")
    return Turn("text", token_ids)


def speech_turn(codes: Sequence[int], layout: TokenLayout, tokenizer: TextTokenizer) -> Turn:
    """Turn speech tokens, (T,) in [0, n_audio), into an unanswered turn.

    Raises:
        AudioError: If there are no speech tokens.
        PromptError: If a speech token is not one the language model knows.
    """
    if not len(codes):
        raise AudioError("the clip gave no speech tokens; record at least a short word")
    highest, lowest = max(codes), min(codes)
    if lowest < 0 or highest >= layout.n_audio:
        raise PromptError(
            f"speech tokens {lowest}..{highest} came, the language model knows "
            f"0..{layout.n_audio - 1}; use a speech tokenizer and a language model that belong "
            "together"
        )
    sound = (layout.audio_0 + code for code in codes)
    opening = tokenizer.encode("\n")
    return Turn("speech", (*opening, layout.begin_of_audio, *sound, layout.end_of_audio))


def render_system(kind: TurnKind, layout: TokenLayout, tokenizer: TextTokenizer) -> list[int]:
    """Open a conversation whose first turn is of `kind`."""
    return [*layout.prefix, layout.system, *tokenizer.encode("\n" + system_prompt(kind))]


def render_turn(turn: Turn, layout: TokenLayout, tokenizer: TextTokenizer) -> list[int]:
    """Render one turn with what is known of its reply."""
    opening = [layout.user, *turn.user_ids, layout.assistant]
    return [*opening, *tokenizer.encode(REPLY_MODE), *turn.reply_ids]


def render_prompt(
    history: Sequence[Turn], layout: TokenLayout, tokenizer: TextTokenizer
) -> list[int]:
    """Render a whole conversation, last turn unanswered, as the model expects it.

    Raises:
        PromptError: If the history is empty.
    """
    if not history:
        raise PromptError("there is nothing to answer: the conversation has no turn")
    token_ids = render_system(history[0].kind, layout, tokenizer)
    for turn in history:
        token_ids += render_turn(turn, layout, tokenizer)
    return token_ids


def fit_prompt(
    history: Sequence[Turn], layout: TokenLayout, tokenizer: TextTokenizer, max_new_tokens: int
) -> FittedPrompt:
    """Render the prompt, dropping the oldest turns until prompt and reply fit the context.

    Room is kept for `max_new_tokens`, but for no more than a quarter of the context. Turns beyond
    those that the model has learned to read are never shown, and not counted as dropped.

    Raises:
        PromptError: If the last turn alone is too long.
    """
    room = layout.context_length - min(max_new_tokens, layout.context_length // MIN_REPLY_SHARE)
    history = history[-layout.max_turns :] if layout.max_turns else history
    for n_dropped in range(max(1, len(history))):
        token_ids = render_prompt(history[n_dropped:], layout, tokenizer)
        if len(token_ids) <= room:
            break
    if len(token_ids) >= layout.context_length:
        raise PromptError(
            f"the message needs {len(token_ids)} tokens, the model takes {layout.context_length} "
            "with its reply; ask something shorter"
        )
    if n_dropped:
        logger.warning("dropped the %d oldest turns: they no longer fit the context", n_dropped)
    return FittedPrompt(tuple(token_ids), n_dropped)


def prompt_beginning(
    history: Sequence[Turn],
    codes: Sequence[int],
    layout: TokenLayout,
    tokenizer: TextTokenizer,
    max_new_tokens: int,
) -> tuple[int, ...]:
    """Render what is known of the prompt while the user speaks, up to the speech tokens `codes`.

    Raises:
        PromptError: If the speech is too long already.
    """
    turn = speech_turn(codes, layout, tokenizer)
    token_ids = fit_prompt((*history, turn), layout, tokenizer, max_new_tokens).token_ids
    n_after = token_ids[::-1].index(layout.end_of_audio)
    return token_ids[: len(token_ids) - n_after - 1]
