"""Work in several processes: batches made ahead of their use, and lists of things computed once.

Keeps a GPU from waiting. Knows no kind of batch; each process draws from a seed of its own.
"""

from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from typing import Generic, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

Item = TypeVar("Item")
Made = TypeVar("Made", covariant=True)
Result = TypeVar("Result")
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


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], n_workers: int
) -> Iterator[Result]:
    """Apply a function to items in order, in `n_workers` fresh processes; 0 does it here."""
    if not n_workers:
        yield from map(function, items)
        return
    with get_context("spawn").Pool(n_workers, torch.set_num_threads, (1,)) as pool:
        yield from pool.imap(function, items, chunksize=16)
