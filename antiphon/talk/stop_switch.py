"""What Ctrl-C means in a call: stop the reply; a second time, or with nothing to stop, leave."""

import time
from collections.abc import Callable

WINDOW_S = 2.0


class StopSwitch:
    """Counts presses of Ctrl-C."""

    def __init__(
        self, window_s: float = WINDOW_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take two presses within `window_s` as the wish to leave."""
        self._window_s = window_s
        self._clock = clock
        self._last: float | None = None

    def press(self, is_busy: bool) -> bool:
        """Note a press while a reply comes or plays (`is_busy`), or not; True: leave."""
        now = self._clock()
        is_second = self._last is not None and now - self._last <= self._window_s
        self._last = now
        return is_second or not is_busy
