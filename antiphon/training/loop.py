"""What every training task shares: clock, log, curves, resumable checkpoints, loss plot."""

import json
import logging
import math
import os
import shutil
import time
from functools import cache
from pathlib import Path

import torch

from antiphon.errors import CheckpointError
from antiphon.training.curves import Curves

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_EVERY_S = 120.0
LONGEST_STEP_S = 60.0  # what a step counts at most: a machine asleep does not use the time up


def learning_rate_factor(fraction: float, warmup: float = 0.03, floor: float = 0.02) -> float:
    """Linear warm-up, then cosine down to `floor`, over the share of the run that is done."""
    if fraction < warmup:
        return max(fraction / warmup, 0.02)
    progress = min(1.0, (fraction - warmup) / (1 - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def atomic_save(value: object, path: Path) -> None:
    """Save with torch so that a reader sees the old file or the whole new one."""
    temporary = path.with_suffix(path.suffix + ".part")
    torch.save(value, temporary)
    temporary.replace(path)


def read_checkpoint(path: Path) -> tuple[dict[str, object], tuple[int, float]]:
    """Read what a run saved: its state, and its steps and seconds so far.

    Raises:
        CheckpointError: If it cannot be read.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        progress = state.pop("progress")
        return state, (int(progress["step"]), float(progress["elapsed_s"]))
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(
            f"cannot resume from {path}: {error}; delete it to start anew, or name another folder"
        ) from error


class Run:
    """One training run: ends after `minutes` of training or `max_steps`, whichever comes first.

    Time spent is kept in the checkpoint, so that a resumed run goes on with its schedule. A step
    counts as a minute at most, with what was logged, measured and saved after the one before.
    """

    def __init__(self, folder: str | Path, minutes: float, max_steps: int | None = None) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.minutes, self.max_steps = minutes, max_steps
        self.step = 0
        self._spent_s = 0.0
        self._ticked_at = self._saved_at = time.monotonic()
        self._curves = Curves(self.folder)

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far, earlier sittings included and pauses left out."""
        return self._spent_s + min(time.monotonic() - self._ticked_at, LONGEST_STEP_S)

    def count_step(self) -> None:
        """Count a step and the time that it took."""
        self.step += 1
        self._spent_s = self.elapsed_s
        self._ticked_at = time.monotonic()

    @property
    def fraction(self) -> float:
        """Share of the run that is done, in [0, 1]."""
        by_time = self.elapsed_s / (60 * self.minutes)
        by_steps = self.step / self.max_steps if self.max_steps else 0.0
        return min(1.0, max(by_time, by_steps))

    @property
    def is_over(self) -> bool:
        """True when time or steps are used up."""
        return self.fraction >= 1.0

    def log(self, **values: float) -> None:
        """Append one line to metrics.jsonl and to the log, and a point to each curve."""
        record = {"step": self.step, "minutes": round(self.elapsed_s / 60, 2), **values}
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self._curves.add(self.step, values)
        shown = " ".join(f"{key} {value:.4g}" for key, value in values.items())
        logger.info(
            "step %d, %.1f min, %.0f %%: %s",
            self.step,
            self.elapsed_s / 60,
            100 * self.fraction,
            shown,
        )

    def save(self, state: dict[str, object]) -> None:
        """Write checkpoint.pt; `state` holds tensors and plain values only."""
        progress = {"step": self.step, "elapsed_s": self.elapsed_s}
        atomic_save({"progress": progress, **state}, self.folder / CHECKPOINT)
        self._saved_at = time.monotonic()

    @property
    def should_save(self) -> bool:
        """True when the last checkpoint is old."""
        return time.monotonic() - self._saved_at > CHECKPOINT_EVERY_S

    def resume(self) -> dict[str, object] | None:
        """Read checkpoint.pt if there is one and take up its clock."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return None
        state, (self.step, self._spent_s) = read_checkpoint(path)
        self._ticked_at = time.monotonic()
        self._curves.close()
        self._curves = Curves(self.folder, self.step + 1)
        logger.info("resumed at step %d after %.1f min", self.step, self._spent_s / 60)
        return state

    def close(self) -> None:
        """Write out curves; a run that is logged to has to be closed."""
        self._curves.close()

    def plot(self) -> None:
        """Draw metrics.jsonl as loss.png, a curve for each value."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        names = sorted({key for record in records for key in record} - {"step", "minutes"})
        figure, axes = pyplot.subplots(
            len(names), 1, figsize=(8, 2.2 * len(names)), sharex=True, squeeze=False
        )
        for axis, name in zip(axes[:, 0], names, strict=True):
            points = [(r["minutes"], r[name]) for r in records if name in r]
            axis.plot(*zip(*points, strict=True), marker="." if len(points) < 40 else None)
            axis.set_ylabel(name)
            axis.grid(alpha=0.3)
        axes[-1, 0].set_xlabel("minutes")
        figure.tight_layout()
        figure.savefig(self.folder / "loss.png", dpi=90)
        pyplot.close(figure)


@cache
def has_fast_bf16() -> bool:
    """True unless this is a processor known to lack bfloat16 arithmetic (four times slower)."""
    flags = Path("/proc/cpuinfo")
    text = flags.read_text() if flags.exists() else ""
    return "flags" not in text or "avx512_bf16" in text or "amx_bf16" in text


def find_compiler() -> str | None:
    """Find the C++ compiler that torch.compile would call on a processor; None without any."""
    names = (os.environ.get("CXX"), "g++", "clang++")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def set_threads(n_threads: int) -> None:
    """Use this many CPU threads; 0 leaves torch's own choice."""
    if n_threads > 0:
        torch.set_num_threads(n_threads)
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # attention stays in bfloat16
    logger.info("%d threads of %s processors", torch.get_num_threads(), os.cpu_count())
