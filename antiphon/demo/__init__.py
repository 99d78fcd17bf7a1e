"""The web page: a turn-by-turn conversation in the browser."""
