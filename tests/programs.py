"""Finds the programs that some tests call; skips a test whose program is not installed."""

import shutil

import pytest


def find_espeak() -> str:
    """Give the path of the synthesiser; skips the test where there is none."""
    found = shutil.which("espeak-ng")
    if found is None:
        pytest.skip("needs espeak-ng to speak: install the package espeak-ng")
    return found
