"""The page's endpoints for programs, `/chat` and `/voice`: Gradio's clients and agents ask there.

They answer as the page does and write into the same conversations. Knows nothing of the layout.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple

import gradio as gr

from antiphon.demo.conversation import Conversations
from antiphon.demo.handlers import Question, TurnHandler
from antiphon.demo.labels import Phrases
from antiphon.demo.reply_settings import MAX_SEED, RANDOM_SEED, read_options
from antiphon.errors import AntiphonError


class Answer(NamedTuple):
    """What an endpoint gives: the words so far, the clip once it is complete, the conversation."""

    text: str
    clip: str | None
    conversation: str


@dataclass(frozen=True)
class Limits:
    """What may be asked for."""

    max_new_tokens: int
    default_new_tokens: int
    concurrency: int


class Endpoints:
    """Questions from programs, answered through the page's handler."""

    def __init__(self, turns: TurnHandler, conversations: Conversations) -> None:
        self._turns = turns
        self._conversations = conversations

    async def chat(
        self,
        text: str,
        conversation: str = "",
        temperature: float = 0.2,
        top_p: float = 0.8,
        max_tokens: float = 2000,
        seed: float = RANDOM_SEED,
    ) -> AsyncGenerator[Answer, None]:
        """Ask the voice model a typed question; it answers in text and speech.

        Args:
            text: The question.
            conversation: Id of the conversation to go on with; empty: a new one.
            temperature: 0 always takes the likeliest token.
            top_p: Share of the likelihood that is sampled from, above 0, not above 1.
            max_tokens: Most tokens of the reply, text and speech together.
            seed: Same seed, same reply; -1 draws one.

        Returns:
            The reply's text, its sound as a wav file, and the id of the conversation.
        """
        question = Question(text=text)
        if not text or not text.strip():
            raise gr.Error(Phrases().nothing, print_exception=False)
        settings = (temperature, top_p, max_tokens, seed)
        async with aclosing(self._answer(question, conversation, settings)) as answers:
            async for answer in answers:
                yield answer

    async def voice(
        self,
        audio: str,
        conversation: str = "",
        temperature: float = 0.2,
        top_p: float = 0.8,
        max_tokens: float = 2000,
        seed: float = RANDOM_SEED,
    ) -> AsyncGenerator[Answer, None]:
        """Ask the voice model a spoken question; it answers in text and speech.

        Args:
            audio: A sound file with the question, at most ten minutes long.
            conversation: Id of the conversation to go on with; empty: a new one.
            temperature: 0 always takes the likeliest token.
            top_p: Share of the likelihood that is sampled from, above 0, not above 1.
            max_tokens: Most tokens of the reply, text and speech together.
            seed: Same seed, same reply; -1 draws one.

        Returns:
            The reply's text, its sound as a wav file, and the id of the conversation.
        """
        if not audio:
            raise gr.Error(Phrases().nothing, print_exception=False)
        settings = (temperature, top_p, max_tokens, seed)
        async with aclosing(self._answer(Question(clip=audio), conversation, settings)) as answers:
            async for answer in answers:
                yield answer

    async def _answer(
        self,
        question: Question,
        conversation_id: str,
        settings: tuple[float, float, float, float],
    ) -> AsyncGenerator[Answer, None]:
        try:
            conversation = self._conversations.open(conversation_id)
            options = read_options(*settings)
        except AntiphonError as error:
            raise gr.Error(str(error), print_exception=False) from error
        turns = self._turns.answer(conversation, question, options, Phrases())
        async with aclosing(turns):
            async for step in turns:
                if step.status.mood == "error":
                    raise gr.Error(step.status.words, print_exception=False)
                if step.status.mood == "busy":
                    exchange = conversation.exchange
                    draft = exchange.draft if exchange is not None else None
                    yield Answer(draft or "", None, conversation.id)
        reply = conversation.last_reply()
        if reply is not None:
            yield Answer(reply.text, str(reply.clip) if reply.clip else None, conversation.id)


def place_endpoints(endpoints: Endpoints, limits: Limits) -> None:
    """Offer the endpoints in the `gr.Blocks` being built; nothing of it is seen on the page."""
    with gr.Group(visible=False):
        conversation = gr.Textbox(value="", label="conversation")
        settings = [
            gr.Number(0.2, label="temperature", minimum=0, maximum=2),
            gr.Number(0.8, label="top-p", minimum=0, maximum=1),
            gr.Number(limits.default_new_tokens, label="most new tokens", minimum=1),
            gr.Number(RANDOM_SEED, label="seed", minimum=RANDOM_SEED, maximum=MAX_SEED),
        ]
        text = gr.Textbox(label="question")
        audio = gr.Audio(type="filepath", label="question")
        outputs = [
            gr.Textbox(label="reply"),
            gr.Audio(label="spoken reply", type="filepath", interactive=False),
            gr.Textbox(label="conversation"),
        ]
        asked = ((endpoints.chat, "chat", text), (endpoints.voice, "voice", audio))
        for function, name, source in asked:
            gr.Button(name).click(
                function,
                [source, conversation, *settings],
                outputs,
                api_name=name,
                concurrency_id="turn",
                concurrency_limit=limits.concurrency,
            )
