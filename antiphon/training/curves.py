"""A run's figures as curves for TensorBoard, where that is installed; else nothing is written.

Knows no task.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

logger = logging.getLogger(__name__)

FLUSH_EVERY_S = 20


def open_writer(folder: Path, first_step: int) -> "SummaryWriter | None":
    """Open an event file in `folder`, or return None without tensorboard.

    Args:
        folder: Of the run; event files of earlier sittings may lie there.
        first_step: What they have from this step on is not shown, as it will come again.
    """
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        logger.info("tensorboard is not installed: the run writes metrics.jsonl alone")
        return None
    return SummaryWriter(str(folder), purge_step=first_step, flush_secs=FLUSH_EVERY_S)


class Curves:
    """The curves of one sitting of a run; a file is opened with the first figure.

    Args:
        folder: Of the run.
        first_step: First step of this sitting.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        self._folder, self._first_step = folder, first_step
        self._is_open = False
        self._writer: SummaryWriter | None = None

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curve of each value."""
        if not self._is_open:
            self._writer, self._is_open = open_writer(self._folder, self._first_step), True
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out what is waiting; the next figure opens a file of its own."""
        if self._writer is not None:
            self._writer.close()
        self._writer, self._is_open = None, False
