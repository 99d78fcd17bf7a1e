"""Freed memory goes back to the system, and nothing is left running."""

import ctypes
import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

from antiphon.freed_memory import COLLECT_EVERY, find_trim, handing_back

PIECE, N_PIECES = 64 * 1024, 1000


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_holes_between_what_is_in_use_go_back():
    trim = find_trim()
    if trim is None:
        pytest.skip("needs glibc")
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    pieces = [libc.malloc(PIECE) for _ in range(N_PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, PIECE)
    for number, piece in enumerate(pieces):
        if number % 10:
            libc.free(piece)
    before = resident()
    trim()
    assert before - resident() > PIECE * N_PIECES / 2
    for piece in pieces[::10]:
        libc.free(piece)


def test_it_happens_again_and_again_until_the_end():
    happened = threading.Semaphore(0)
    with handing_back(0.001, happened.release):
        for _ in range(3):
            assert happened.acquire(timeout=20)
    assert "antiphon-freed-memory" not in {thread.name for thread in threading.enumerate()}


def test_rings_of_objects_are_found_and_what_was_there_before_is_not_searched():
    class Ring:
        def __init__(self) -> None:
            self.other = self

    before = Ring()
    happened = threading.Semaphore(0)
    with handing_back(0.001, happened.release):
        assert gc.get_freeze_count() > 0
        assert not any(each is before for each in gc.get_objects())
        kept = weakref.ref(Ring())
        for _ in range(2 * COLLECT_EVERY):
            assert happened.acquire(timeout=20)
        assert kept() is None
    assert gc.get_freeze_count() == 0


def test_where_there_is_nothing_to_call_nothing_runs(monkeypatch):
    monkeypatch.setattr("antiphon.freed_memory.find_trim", lambda: None)
    with handing_back(0.001):
        assert "antiphon-freed-memory" not in {thread.name for thread in threading.enumerate()}


def test_threads_share_one_heap():
    count_heaps = """
import ctypes, sys, threading
from antiphon.freed_memory import share_heap
if sys.argv[1] == "shared":
    assert share_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
found, all_are_there = set(), threading.Barrier(8)
def take():
    all_are_there.wait()
    found.add(libc.malloc(1000) >> 26)  # a heap of a thread lies at a multiple of 64 MiB
    all_are_there.wait()
threads = [threading.Thread(target=take) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(found))
"""
    if find_trim() is None:
        pytest.skip("needs glibc")

    def heaps(kind: str) -> int:
        command = [sys.executable, "-c", count_heaps, kind]
        return int(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)

    assert heaps("apart") > 2 >= heaps("shared")
