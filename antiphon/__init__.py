"""Antiphon: a voice chatbot that hears speech tokens and answers in interleaved text and audio."""

__version__ = "0.1.0"
