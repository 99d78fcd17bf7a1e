"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """Folder of the reference numbers; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("ANTIPHON_PARITY", REPOSITORY.parent / "shared" / "parity"))
    if not folder.is_dir():
        pytest.skip(f"needs the parity kit: no folder {folder} (set ANTIPHON_PARITY)")
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with random tokenizer/, lm/ and decoder/ that fit together."""
    from tests.tiny_checkpoints import write_tiny_checkpoints

    return write_tiny_checkpoints(tmp_path_factory.mktemp("tiny"))
