"""What calls on the command line have to tell goes to standard error, a line each.

Standard output stays clean for answers.
"""

import sys

from antiphon.talk.call_state import CallObserver


class StandardErrorObserver(CallObserver):
    """Prints notices, each once in a row."""

    def __init__(self) -> None:
        """Start without a last notice."""
        self._last = ""

    def on_notice(self, message: str) -> None:
        """Print a notice that is not the last one again."""
        if message != self._last:
            print(f"antiphon: {message}", file=sys.stderr, flush=True)
        self._last = message
