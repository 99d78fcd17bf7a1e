"""Hands memory that was freed back to the system, which glibc does not do by itself.

Sounds of ever new lengths leave ever new holes between what is still in use: some 40 MB more after
a call of ten minutes. Knows no model.
"""

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_S = 2.0


def find_trim() -> Callable[[], object] | None:
    """Find what hands freed memory back, a matter of two milliseconds; None where nothing does."""
    if sys.platform != "linux":
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    return None if trim is None else lambda: trim(ctypes.c_size_t(0))


@contextmanager
def handing_back(
    every_s: float = EVERY_S, trim: Callable[[], object] | None = None
) -> Iterator[None]:
    """Do so now and then while inside.

    Args:
        every_s: Seconds between.
        trim: What hands memory back; None looks for it.
    """
    trim = trim or find_trim()
    if trim is None:
        yield
        return
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(every_s):
            trim()

    thread = threading.Thread(target=work, name="antiphon-freed-memory", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
