"""Speech to discrete tokens at 12.5 Hz. Knows nothing of language models."""

from speech_tokenizer.token_stream import SpeechTokenStream
from speech_tokenizer.tokenizer import SpeechTokenizer

__all__ = ["SpeechTokenStream", "SpeechTokenizer"]
