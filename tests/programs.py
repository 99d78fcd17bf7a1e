"""Finds the programs and libraries that some tests need; skips a test where there is none."""

import shutil

import pytest
import torch

needs_mkl = pytest.mark.skipif(
    not torch.backends.mkl.is_available(),
    reason="needs a torch built with MKL, whose sums are tested",
)


def find_espeak() -> str:
    """Give the path of the synthesiser; skips the test where there is none."""
    found = shutil.which("espeak-ng")
    if found is None:
        pytest.skip("needs espeak-ng to speak: install the package espeak-ng")
    return found
