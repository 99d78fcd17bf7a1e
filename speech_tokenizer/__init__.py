"""Speech to discrete tokens at 12.5 Hz. Knows nothing of language models."""
