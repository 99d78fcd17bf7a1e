"""Turns what a user says into an unanswered turn, also while the user still speaks.

Knows protocols only; tokenises off the event loop.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from torch import Tensor

from antiphon.dialogue.prompt import speech_turn, text_turn
from antiphon.dialogue.session import Turn, UserTurn
from antiphon.dialogue.stage_clock import StageClock
from antiphon.errors import AudioError
from antiphon.models.base import DialogueTokenizer, SpeechEncoder, Waveform

IDLE_TIMEOUT_S = 30.0
"""Seconds without any sound, not even silence, after which a user who speaks is given up."""

Result = TypeVar("Result")
OnExpected = Callable[[list[int]], None]


class Listener:
    """Hears many sessions; the speech tokenizer has one thread."""

    def __init__(self, text_tokenizer: DialogueTokenizer, speech_tokenizer: SpeechEncoder) -> None:
        self._text_tokenizer = text_tokenizer
        self._speech_tokenizer = speech_tokenizer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="antiphon-listen")

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def listen(
        self, user_turn: UserTurn, clock: StageClock, on_expected: OnExpected | None = None
    ) -> Turn:
        """Turn words or sound into an unanswered turn.

        Args:
            user_turn: What the user says.
            clock: Starts anew at the end of speech, if the user still speaks.
            on_expected: Gets all speech tokens that will most likely stay, whenever there are more
                of them while the user speaks.

        Raises:
            AudioError: If the sound cannot be used, or none comes for `IDLE_TIMEOUT_S`.
            PromptError: If the words cannot be used.
        """
        if user_turn.speech is None:
            turn = await self._in_thread(lambda: self._tokenise(user_turn))
        else:
            assert user_turn.sample_rate is not None
            codes = await self._hear(user_turn.speech, user_turn.sample_rate, clock, on_expected)
            turn = speech_turn(codes, self._text_tokenizer.layout, self._text_tokenizer)
        clock.mark_tokenised()
        return turn

    def _tokenise(self, user_turn: UserTurn) -> Turn:
        tokenizer, layout = self._text_tokenizer, self._text_tokenizer.layout
        if user_turn.text is not None:
            return text_turn(user_turn.text, layout, tokenizer)
        assert user_turn.waveform is not None
        assert user_turn.sample_rate is not None
        codes = self._speech_tokenizer.encode(user_turn.waveform, user_turn.sample_rate)
        return speech_turn(codes.tolist(), layout, tokenizer)

    async def _hear(
        self,
        speech: AsyncIterator[Waveform | Tensor],
        sample_rate: int,
        clock: StageClock,
        on_expected: OnExpected | None,
    ) -> list[int]:
        """Tokenise while the user speaks; returns all speech tokens soon after the end."""
        codes: list[int] = []
        n_expected = 0
        try:
            with self._speech_tokenizer.open_stream(sample_rate) as stream:
                while (samples := await next_samples(speech)) is not None:
                    codes += await self._in_thread(lambda: stream.push(samples).tolist())
                    expected = codes + stream.settled.tolist()
                    if on_expected is not None and len(expected) > n_expected:
                        on_expected(expected)
                    n_expected = len(expected)
                clock.restart()
                return codes + await self._in_thread(lambda: stream.finish().tolist())
        finally:
            await close_source(speech)

    async def _in_thread(self, function: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


async def next_samples(
    speech: AsyncIterator[Waveform | Tensor],
) -> Waveform | Tensor | None:
    """Wait for the next samples; None at the end of speech."""
    try:
        async with asyncio.timeout(IDLE_TIMEOUT_S):
            return await anext(speech, None)
    except TimeoutError as error:
        raise AudioError(
            f"no sound came for {IDLE_TIMEOUT_S:.0f} s; end the speech when the user has ended"
        ) from error


async def close_source(speech: AsyncIterator[Waveform | Tensor]) -> None:
    """Tell the source that nobody hears any more, where it can be told."""
    aclose = getattr(speech, "aclose", None)
    if aclose is not None:
        await aclose()
