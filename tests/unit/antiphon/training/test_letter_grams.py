"""The file comes back as it was; what is no such trie is refused and says why."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from antiphon.errors import CheckpointError
from antiphon.training.letter_grams import (
    LETTERS_FILE,
    LetterGrams,
    find_fault,
    read_grams,
    save_letters,
)
from tests.small_letters import N_LETTERS, N_SYMBOLS, small_grams

Tensors = dict[str, Tensor]


def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    grams = small_grams()
    save_letters(grams, tmp_path)
    back = read_grams(tmp_path, N_LETTERS)
    assert isinstance(back, LetterGrams)
    for name, tensor in grams.tensors().items():
        assert torch.equal(tensor, back.tensors()[name]), name
    assert [path.name for path in tmp_path.iterdir()] == [LETTERS_FILE]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_letters(small_grams(), tmp_path)
    before = (tmp_path / LETTERS_FILE).read_bytes()

    def fail(tensors: Tensors, path: Path, metadata: dict[str, str]) -> None:
        Path(path).write_bytes(before[:20])
        raise OSError("no space")

    monkeypatch.setattr("antiphon.training.letter_grams.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        save_letters(small_grams(seed=1), tmp_path)
    assert (tmp_path / LETTERS_FILE).read_bytes() == before


def changed(name: str, place: int, value: float) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name][place] = value

    return change


def first_sibling(tensors: Tensors) -> int:
    """Where level two begins with two letters of one family."""
    assert tensors["n_children"][0] >= 2
    return N_SYMBOLS


def swap_siblings(tensors: Tensors) -> None:
    place = first_sibling(tensors)
    tensors["letters"][place : place + 2] = tensors["letters"][place : place + 2].flip(0)


def double_sibling(tensors: Tensors) -> None:
    place = first_sibling(tensors)
    tensors["letters"][place + 1] = tensors["letters"][place]


def end_early(tensors: Tensors) -> None:
    """Let a family go on after the end of a text, and everything else be in order."""
    sizes = tensors["level_sizes"].tolist()
    level_two = tensors["letters"][sizes[0] : sizes[0] + sizes[1]]
    place = int((level_two == N_LETTERS).nonzero()[0]) + sizes[0]
    other = int((tensors["n_children"][sizes[0] :] > 0).nonzero()[0]) + sizes[0]
    moved = place if other > place else None
    assert moved is not None or other < place
    count = tensors["n_children"][other].clone()
    tensors["n_children"][other], tensors["n_children"][place] = 0, count


def move_a_child(tensors: Tensors) -> None:
    tensors["n_children"][0] += 1


FAULTS: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "a tensor is missing": (lambda t: t.pop("n_children"), "it holds"),
    "a tensor too many": (lambda t: t.update(more=torch.zeros(1)), "it holds"),
    "another dtype": (
        lambda t: t.update(log_probabilities=t["log_probabilities"].float()),
        "log_probabilities must be one row",
    ),
    "another shape": (lambda t: t.update(letters=t["letters"][None]), "letters must be one row"),
    "no level": (lambda t: t.update(level_sizes=t["level_sizes"][:0]), "1 to 16 positive"),
    "one level": (lambda t: t.update(level_sizes=t["level_sizes"][:1]), "differ in length"),
    "a negative level": (changed("level_sizes", 1, -3), "1 to 16 positive"),
    "another alphabet": (changed("level_sizes", 0, 4), "for 3 letters"),
    "a huge level": (changed("level_sizes", 2, 2**31 - 1), "more than"),
    "a level cut short": (lambda t: t.update(letters=t["letters"][:-1]), "differ in length"),
    "a letter beyond the alphabet": (changed("letters", -1, 200), "below the number of symbols"),
    "level one out of order": (changed("letters", 0, 1), "all of them on level one"),
    "siblings out of order": (swap_siblings, "letters of level 2 are not in order"),
    "a sibling twice": (double_sibling, "letters of level 2 are not in order"),
    "one child too many": (move_a_child, "level 2 has"),
    "not a number": (changed("log_probabilities", 3, float("nan")), "finite"),
    "minus infinity": (changed("log_probabilities", 3, float("-inf")), "finite"),
    "above one": (changed("log_probabilities", 3, 0.5), "not above 0"),
    "more than one in all": (changed("log_probabilities", 3, 0.0), "add up to more than one"),
    "something after the end": (end_early, "after the end of a text"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_no_such_trie_is_refused(fault: str, tmp_path: Path) -> None:
    tensors = {name: tensor.clone() for name, tensor in small_grams().tensors().items()}
    assert find_fault(tensors, N_SYMBOLS) == ""
    change, told = FAULTS[fault]
    change(tensors)
    save_file(tensors, tmp_path / LETTERS_FILE)
    with pytest.raises(CheckpointError, match=told) as refused:
        read_grams(tmp_path, N_LETTERS)
    assert "antiphon train letters" in str(refused.value)


def test_bytes_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / LETTERS_FILE).write_bytes(b"\xff" * 100)
    with pytest.raises(CheckpointError, match="damaged"):
        read_grams(tmp_path, N_LETTERS)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="missing"):
        read_grams(tmp_path, N_LETTERS)
