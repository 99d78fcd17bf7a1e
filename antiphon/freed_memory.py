"""Hands memory that is not needed back to the system, which does not happen by itself.

Sounds of ever new lengths leave ever new holes between what is still in use, which glibc keeps, and
rings of objects, which Python looks for the more seldom the larger the program is: some 40 MB more
after a call of ten minutes. Fewer holes stay where all threads share a heap. Knows no model.
"""

import ctypes
import gc
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_S = 2.0
COLLECT_EVERY = 15  # of these; 20 ms in which no other thread runs, trimming stops nobody
M_ARENA_MAX = -8  # malloc.h of glibc


def share_heap() -> bool:
    """Let all threads that begin from here on share one heap; whether the C library can.

    By default glibc gives each of them one of its own, up to eight a core, and what is free in one
    serves no other thread.
    """
    if sys.platform != "linux":
        return False
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    return option is not None and option(M_ARENA_MAX, 1) == 1


def find_trim() -> Callable[[], object] | None:
    """Find what hands freed memory back, a matter of two milliseconds; None where nothing does."""
    if sys.platform != "linux":
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    return None if trim is None else lambda: trim(ctypes.c_size_t(0))


@contextmanager
def keep_what_exists() -> Iterator[None]:
    """Search for rings of objects, while inside, among those alone that are made inside.

    Looking through a loaded model's program takes 0.4 s, in which no other thread runs.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def handing_back(
    every_s: float = EVERY_S, trim: Callable[[], object] | None = None
) -> Iterator[None]:
    """Do so now and then while inside; what exists already is kept.

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
        for number in itertools.count(1):
            if is_over.wait(every_s):
                return
            if number % COLLECT_EVERY == 0:
                gc.collect()
            trim()

    thread = threading.Thread(target=work, name="antiphon-freed-memory", daemon=True)
    with keep_what_exists():
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
