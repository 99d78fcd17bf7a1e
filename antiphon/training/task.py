"""What every training task is: settings, a model with its optimizer, losses, and a run to the end.

A subclass builds the model, draws batches and says what is exported; this decides when to log, when
to validate and when to save. Knows no kind of model.
"""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from antiphon.checkpoints import compare_keys, shapes_of
from antiphon.errors import CheckpointError, ConfigError
from antiphon.logs import configure_logging
from antiphon.training.loop import (
    CHECKPOINT,
    Run,
    find_compiler,
    has_fast_bf16,
    learning_rate_factor,
    read_checkpoint,
    set_threads,
)
from antiphon.training.optimizers import AnyOptimizer
from antiphon.training.together import Group, learn_together

logger = logging.getLogger(__name__)

LOG_EVERY = 25
APART = 7919  # between the seeds of processes that learn together


@dataclass(frozen=True)
class TaskConfig:
    """What all tasks can be told.

    Attributes:
        data: Folder of the speech corpus, and of its codes where the task reads them.
        run: Folder of checkpoints, logs and prepared data.
        out: Folder for the finished part of the model.
        minutes: Length of the run.
        max_steps: End after this many steps even if time is left.
        device: Torch device.
        n_threads: CPU threads, 0 for torch's choice.
        use_bf16: Autocast to bfloat16; left out on a processor that has no instructions for it.
        use_compile: Compile the network first (torch.compile), where the task says what of it; left
            out where there is no C++ compiler.
        learning_rate: Peak of AdamW.
        validate_every: Steps between validations.
        start: Folder of a finished part to go on from, or of an earlier run (`run`), which also
            gives what only learns beside it, and the optimizer; the clock starts anew. Empty
            starts from random weights.
        new_codes: True when the speech tokens are others than `start` was trained on, so that what
            it knows of each token has to be learned anew.
        old_codes: Folder with the codes (codes.bin, codes.jsonl) that `start` was trained on, of
            the corpus in `data`: what it knows of each token is carried to those heard there now.
        seed: Seed of everything random.
    """

    data: str = "data/speech"
    run: str = "runs/task"
    out: str = "resources/embedded"
    minutes: float = 60.0
    max_steps: int | None = None
    device: str = "cpu"
    n_threads: int = 1
    use_bf16: bool = True
    use_compile: bool = False
    learning_rate: float = 1e-3
    validate_every: int = 250
    start: str = ""
    new_codes: bool = False
    old_codes: str = ""
    seed: int = 1


Config = TypeVar("Config", bound=TaskConfig)
Losses = dict[str, Tensor]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw fresh weights inside from `seed`; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def load_started(module: nn.Module, state: Mapping[str, Tensor], folder: Path) -> None:
    """Fill a module with the weights of the finished part that `start` names.

    Raises:
        CheckpointError: If they are not those of a module of this size; names what differs.
    """
    differences = compare_keys(shapes_of(module.state_dict()), shapes_of(state))
    if differences:
        raise CheckpointError(
            f"start={folder} is of another size than these settings: {differences.describe()}; "
            "give the sizes that it has, or leave start out"
        )
    module.load_state_dict(state)


class TrainingTask(ABC, Generic[Config]):
    """State of one training run.

    Attributes:
        config: Settings.
        run: Clock, log and checkpoints.
        generator: Source of randomness on the CPU.
        model: What is trained; subclasses set it.
        optimizer: Subclasses set it.
        group: The processes that learn together; this one alone unless somebody sets another.
    """

    longest_gradient: ClassVar[float] = 1.0
    model: nn.Module
    optimizer: AnyOptimizer

    def __init__(self, config: Config) -> None:
        set_threads(config.n_threads)
        self.config = config
        self.device = torch.device(config.device)
        self.run = Run(config.run, config.minutes, config.max_steps)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.group = Group()
        self._progress: float | None = None

    @property
    def progress(self) -> float:
        """Share of the run that is done, in [0, 1]; the same in all processes within a step."""
        return self.run.fraction if self._progress is None else self._progress

    @abstractmethod
    def losses(self) -> Losses:
        """Losses of the next batch by name; `total` is what is learned."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Figures on held-out data by name; called in evaluation mode and without gradients."""

    @abstractmethod
    def start_from(self, folder: Path) -> None:
        """Take the weights of a finished part in the official format."""

    @abstractmethod
    def export(self) -> None:
        """Write the finished part in the official format."""

    def finished(self) -> AbstractContextManager[None]:
        """Let the model hold what is to be written until left: what was learned, by default."""
        return nullcontext()

    def before_step(self) -> None:
        """What is to be done before a step."""

    def compiled(self) -> Iterable[nn.Module]:
        """Parts of the network that are worth compiling: those whose batches have few shapes."""
        return ()

    def after_step(self) -> None:
        """What is to be done when the weights have moved."""

    def learned(self) -> Iterable[nn.Parameter]:
        """What gradients move: those of processes that learn together are averaged."""
        return self.model.parameters()

    def followed(self) -> Iterable[Tensor]:
        """What the leader alone decides, after each step: tensors that no gradient moves."""
        return ()

    def reseed(self, seed: int) -> None:
        """Draw differently from here on: a resumed run must not see the same batches again."""
        self.generator.manual_seed(seed)

    def state(self) -> dict[str, object]:
        """What a checkpoint holds: tensors and plain values."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: dict[str, object]) -> None:
        """Take up a checkpoint's state."""
        self.model.load_state_dict(state["model"])  # type: ignore[arg-type]
        self.optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]

    def resume(self) -> None:
        """Take up an earlier checkpoint of this run, else what to start from, if anything.

        Raises:
            CheckpointError: If what is there cannot be read or was made with other settings.
            ConfigError: If an earlier run is to go on with other speech tokens.
        """
        state = self.run.resume()
        earlier = Path(self.config.start) / CHECKPOINT
        if state is not None:
            self.take_up(state, self.run.folder)
            self.reseed(self.config.seed + self.run.step)
        elif self.config.start and earlier.exists():
            if self.config.new_codes or self.config.old_codes:
                raise ConfigError(
                    f"start={self.config.start} is a run, which goes on with the codes it had: for "
                    "other codes give the finished part that it wrote (its out)"
                )
            self.take_up(read_checkpoint(earlier)[0], earlier.parent)
        elif self.config.start:
            self.start_from(Path(self.config.start))

    def take_up(self, state: dict[str, object], folder: Path) -> None:
        """Load the checkpoint in a run's folder.

        Raises:
            CheckpointError: If it was made with other settings.
        """
        try:
            self.load_state(state)
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).split("\n")[0]
            raise CheckpointError(
                f"the checkpoint in {folder} was made with other settings ({reason}): "
                "give those again, or another folder with run="
            ) from error

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Compute in bfloat16 where the settings ask for it.

        On a processor attention is made of plain products: learning through torch's one kernel
        takes three times as long there.
        """
        with ExitStack() as stack:
            if self.device.type == "cpu":
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            is_short = self.computes_bf16()
            stack.enter_context(torch.autocast(self.device.type, torch.bfloat16, enabled=is_short))
            yield

    def compile(self) -> None:
        """Compile what the task names, if the settings ask for it; it happens in the first step."""
        if not self.config.use_compile:
            return
        if find_compiler() is None:
            logger.warning("use_compile=true needs a C++ compiler such as g++: going on without")
            return
        for part in self.compiled():
            part.compile(dynamic=False)

    def computes_bf16(self) -> bool:
        """True when bfloat16 is wanted and the device is quick at it."""
        return self.config.use_bf16 and (self.device.type != "cpu" or has_fast_bf16())

    def step(self) -> Losses:
        """One update of the weights."""
        self.before_step()
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * learning_rate_factor(self.progress)
        losses = self.losses()
        self.optimizer.zero_grad()
        losses["total"].backward()
        self.group.average_gradients(self.learned())
        nn.utils.clip_grad_norm_(self.model.parameters(), self.longest_gradient)
        self.optimizer.step()
        self.run.count_step()
        self.after_step()
        self.group.follow(self.followed())
        return losses

    def log_validation(self) -> None:
        """Validate and log what came out."""
        self.model.eval()
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # lengths of all kinds
            self.run.log(**self.validate())
        self.model.train()

    def log_losses(self, losses: Losses) -> None:
        """Log the losses that the batch had (the mean over nothing is not a number)."""
        values = {name: float(value.detach()) for name, value in losses.items()}
        self.run.log(**{name: value for name, value in values.items() if not math.isnan(value)})

    def train(self) -> None:
        """Run to the end of the time or steps, then validate and export."""
        logger.info("%s", asdict(self.config))
        with closing(self.run):
            self.resume()
            self.compile()
            if not self.group.leads:  # other batches than the leader's
                self.reseed(self.config.seed + self.run.step + APART * self.group.rank)
            self.learn()
            if not self.group.leads:
                return
            self.run.save(self.state())
            with self.finished():
                self.log_validation()
                self.export()
            self.run.plot()

    def learn(self) -> None:
        """Take steps to the end of the time; log, validate and save now and then."""
        self.model.train()
        while not self.has_ended():
            losses = self.step()
            if not self.group.leads:
                continue
            if self.run.step == 1 or self.run.step % LOG_EVERY == 0:
                self.log_losses(losses)
            if self.run.step % self.config.validate_every == 0:
                self.log_validation()
            if self.run.should_save:
                self.run.save(self.state())

    def has_ended(self) -> bool:
        """Whether the run is over, by the leader's clock."""
        self._progress = self.group.agree(self.run.fraction)
        return self._progress >= 1.0


def learn(kind: type[TrainingTask[Config]], config: Config, group: Group) -> None:
    """Take part in a run as one of its processes."""
    if group.size > 1:
        configure_logging()
    task = kind(config)
    task.group = group
    task.train()


def train_together(kind: type[TrainingTask[Config]], config: Config, n_processes: int) -> None:
    """Train in one process or several.

    Raises:
        ConfigError: If several processes are to learn on anything but a processor.
    """
    if n_processes > 1 and torch.device(config.device).type != "cpu":
        raise ConfigError(
            f"n_processes={n_processes} is for device=cpu, not {config.device}: leave it at 1"
        )
    learn_together(partial(learn, kind, config), n_processes)
