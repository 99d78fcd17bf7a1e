"""Keeps the steps of all shapes seen, recorded as CUDA graphs where there is CUDA.

A graph starts hundreds of kernels with one call, which at small batches is what a step waits for.
Knows nothing of what a step computes.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch

logger = logging.getLogger(__name__)

MAX_GRAPHS = 64
"""Graphs kept at a time; the one that has not been used for longest makes room."""

LEAST_FREE_SHARE = 0.03
"""Share of the device's memory that must be free for another graph to be recorded."""

N_REHEARSALS = 2
"""Runs before recording, in which libraries set up what may not be set up while recording."""

Action = Callable[[], None]
Shape = TypeVar("Shape", bound=Hashable)


def run_plainly(action: Action) -> Action:
    """Record nothing: the action itself is called every time."""
    return action


class CudaRecorder:
    """Records actions as CUDA graphs that share one pool of memory, as they run in turn."""

    def __init__(self, device: torch.device) -> None:
        """Record on a CUDA device."""
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, action: Action) -> Action:
        """Run an action some times, then record it.

        Returns:
            What replays it on the current stream.

        Raises:
            RuntimeError: If it cannot be recorded.
        """
        with torch.cuda.device(self._device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(N_REHEARSALS):
                    action()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # Other threads (the decoder's) may use the device meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                action()
        return graph.replay


def has_room_to_record(device: torch.device) -> bool:
    """Tell whether the device has memory left for another graph."""
    free, total = torch.cuda.mem_get_info(device)
    return free > LEAST_FREE_SHARE * total


class GraphRunner(Generic[Shape]):
    """Records steps when they are first wanted, and at most `MAX_GRAPHS` of them.

    What cannot be recorded, for want of memory or otherwise, is run step by step instead.
    """

    def __init__(
        self,
        make_step: Callable[[Shape], Action],
        record: Callable[[Action], Action] = run_plainly,
        has_room: Callable[[], bool] = lambda: True,
        max_graphs: int = MAX_GRAPHS,
    ) -> None:
        """Begin with nothing recorded.

        Args:
            make_step: Builds the step of a shape.
            record: Turns a step into something that does the same, sooner. It may run the step.
            has_room: Whether another may be recorded.
            max_graphs: Most recordings kept.
        """
        self._make_step = make_step
        self._record = record
        self._has_room = has_room
        self._max_graphs = max_graphs
        self._recorded: OrderedDict[Shape, Action] = OrderedDict()
        self._is_broken = False

    def __len__(self) -> int:
        """Count the recordings."""
        return len(self._recorded)

    def __contains__(self, shape: Shape) -> bool:
        """Tell whether a shape is recorded."""
        return shape in self._recorded

    def find(self, shape: Shape) -> Action:
        """Give the step of a shape; a new one is recorded, which may run it on what is there."""
        if shape in self._recorded:
            self._recorded.move_to_end(shape)
            return self._recorded[shape]
        step = self._make_step(shape)
        if self._is_broken or not self._has_room():
            return step
        while len(self._recorded) >= self._max_graphs:
            self._recorded.popitem(last=False)
        try:
            recorded = self._record(step)
        except RuntimeError as error:
            logger.warning("steps run without CUDA graphs: they cannot be recorded (%s)", error)
            self._is_broken = True
            return step
        self._recorded[shape] = recorded
        return recorded
