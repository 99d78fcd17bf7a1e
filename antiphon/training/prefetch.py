"""Batches made in several processes, ahead of their use, so that a GPU need not wait for them.

Knows no kind of batch. Each process draws from a seed of its own.
"""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

Item = TypeVar("Item")
Made = TypeVar("Made", covariant=True)
AHEAD = 4  # batches a process keeps ready


class MakesBatches(Protocol[Made]):
    """Something that can be sent to a process and yields batches there for ever."""

    def __call__(self, seed: int) -> Iterator[Made]:
        """Yield batches drawn from a seed."""
        ...


class _Stream(IterableDataset[Item], Generic[Item]):
    """Runs a maker inside a worker process."""

    def __init__(self, make: MakesBatches[Item], seed: int) -> None:
        self.make, self.seed = make, seed

    def __iter__(self) -> Iterator[Item]:
        """Yield the batches of this worker."""
        torch.set_num_threads(1)
        worker = get_worker_info()
        return self.make(self.seed * 1000 + (worker.id if worker else 0))


def prefetch(make: MakesBatches[Item], n_workers: int, seed: int) -> Iterator[Item]:
    """Yield batches made in `n_workers` fresh processes, which end with the iterator.

    Args:
        make: Has to be picklable, and so have its batches.
        n_workers: At least one.
        seed: Of the draws; each process has its own from it.
    """
    loader: DataLoader[Item] = DataLoader(
        _Stream(make, seed),
        batch_size=None,
        num_workers=n_workers,
        prefetch_factor=AHEAD,
        multiprocessing_context="spawn",
    )
    return iter(loader)
