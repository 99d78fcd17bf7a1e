"""Prompt strings become the ids that the original's tokenizer gives them."""

from dataclasses import replace

import pytest

from antiphon.errors import PromptError
from antiphon.server.prompt_string import PromptStringEncoder
from tests.dialogue_fakes import LAYOUT, ByteTokenizer

ENCODER = PromptStringEncoder(ByteTokenizer(), LAYOUT)


def text(content: str) -> list[int]:
    return list(content.encode())


def test_the_prompt_of_the_original_web_page() -> None:
    prompt = (
        "<|system|>\nSpeak. <|user|>\n<|begin_of_audio|><|audio_0|><|audio_63|><|end_of_audio|>"
        "<|assistant|>streaming_transcription\n"
    )
    expected = [
        *LAYOUT.prefix,
        LAYOUT.system,
        *text("\nSpeak. "),
        LAYOUT.user,
        *text("\n"),
        LAYOUT.begin_of_audio,
        LAYOUT.audio_0,
        LAYOUT.audio_0 + 63,
        LAYOUT.end_of_audio,
        LAYOUT.assistant,
        *text("streaming_transcription\n"),
    ]
    assert list(ENCODER.encode(prompt)) == expected


def test_a_written_out_prefix_is_not_doubled() -> None:
    assert ENCODER.encode("[gMASK]<sop>a") == (*LAYOUT.prefix, 97)
    assert ENCODER.encode("a") == (*LAYOUT.prefix, 97)


@pytest.mark.parametrize(
    "content",
    [
        "<|audio_64|>",
        "<|audio_007|>",
        "<|audio_|>",
        "<|nobody|>",
        "<|USER|>",
        "< |user|>",
        "<|user",
    ],
)
def test_what_only_looks_like_a_special_token_stays_text(content: str) -> None:
    assert ENCODER.encode(content) == (*LAYOUT.prefix, *text(content))


def test_text_around_unknown_spellings_is_encoded_in_one_piece() -> None:
    seen: list[str] = []

    class Recorder(ByteTokenizer):
        def encode(self, text: str) -> list[int]:
            seen.append(text)
            return super().encode(text)

    PromptStringEncoder(Recorder(), LAYOUT).encode("a <|nobody|> b<|user|>c")
    assert seen == ["a <|nobody|> b", "c"]


def test_other_special_tokens() -> None:
    ids = ENCODER.encode("<|observation|><|endoftext|>")
    assert ids == (*LAYOUT.prefix, LAYOUT.observation, LAYOUT.stop[0])
    short = replace(LAYOUT, prefix=(), stop=())
    assert PromptStringEncoder(ByteTokenizer(), short).encode("<|user|>") == (LAYOUT.user,)


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(PromptError, match="empty"):
        ENCODER.encode("")
