"""Several processes learn one model together: each from batches of its own, gradients averaged.

On a processor that brings more than as many threads do. Knows no task.

Source: synchronous data-parallel training (Goyal et al. 2017, arXiv 1706.02677, section 3).
"""

import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import ProcessException, spawn

from antiphon.errors import TrainingError

REASON = "reason"
PATIENCE = timedelta(minutes=30)  # of the others while the first validates or saves


@dataclass(frozen=True)
class Group:
    """This process's place among those that learn together; alone, nothing is exchanged.

    Attributes:
        rank: Its number; 0 leads: it logs, validates and saves.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def agree(self, value: float) -> float:
        """Give the leader's value."""
        if self.size == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64)
        distributed.broadcast(told, 0)
        return float(told)

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite CPU tensors with the leader's."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor.detach(), 0)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give all the mean gradient; one that a process has not got counts as zero."""
        if self.size == 1:
            return
        learned = [parameter for parameter in parameters if parameter.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in learned]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        pieces = flat.div_(self.size).split([p.numel() for p in learned])
        for parameter, piece in zip(learned, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)


def _enter(rank: int, size: int, folder: str, work: Callable[[Group], None]) -> None:
    """Meet the others and work; in a process of its own."""
    meeting = Path(folder) / "meeting"
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=PATIENCE
    )
    try:
        work(Group(rank, size))
    except Exception as error:
        with suppress(FileExistsError), (Path(folder) / REASON).open("x", encoding="utf-8") as file:
            file.write(f"{type(error).__name__}: {error}")  # before the others miss this one
        raise
    finally:
        distributed.destroy_process_group()


def learn_together(work: Callable[[Group], None], n_processes: int) -> None:
    """Run `work` in so many processes at once; one that fails ends all.

    Args:
        work: Has to be picklable; told its place.
        n_processes: 1 runs it here.

    Raises:
        TrainingError: If one fails; names the reason of the first.
    """
    if n_processes <= 1:
        work(Group())
        return
    with tempfile.TemporaryDirectory(prefix="antiphon-together-") as folder:
        try:
            spawn(_enter, (n_processes, folder, work), n_processes)
        except ProcessException as error:
            told = Path(folder) / REASON
            reason = told.read_text("utf-8") if told.exists() else str(error).strip()
            last = reason.strip().splitlines()[-1]
            raise TrainingError(f"one of {n_processes} processes failed: {last}") from error
