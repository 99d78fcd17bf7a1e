"""What every task shares: a stopped run goes on; settings that do not fit are refused."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path

import pytest
import torch
from torch import nn

from antiphon.errors import CheckpointError, ConfigError
from antiphon.training import task as task_module
from antiphon.training.optimizers import build_optimizer
from antiphon.training.task import Losses, TaskConfig, TrainingTask, load_started


@dataclass(frozen=True)
class LineConfig(TaskConfig):
    width: int = 4
    use_muon: bool = True


class Line(nn.Linear):
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(batch, self.weight, self.bias)


class LineTask(TrainingTask[LineConfig]):
    """Learns to copy; each batch depends on the step alone."""

    def __init__(self, config: LineConfig) -> None:
        super().__init__(config)
        torch.manual_seed(0)
        self.layer = Line(config.width, config.width)
        self.model = nn.ModuleDict({"layers": nn.ModuleList([self.layer])})
        self.optimizer = build_optimizer(self.model, config.learning_rate, config.use_muon)

    def losses(self) -> Losses:
        generator = torch.Generator().manual_seed(self.run.step)
        batch = torch.randn(8, self.config.width, generator=generator)
        return {"total": (self.layer(batch) - batch).square().mean()}

    def compiled(self) -> Iterable[nn.Module]:
        return (self.layer,)

    def validate(self) -> dict[str, float]:
        self.layer(torch.zeros(1 + self.run.step, self.config.width))
        return {"valid": 0.5}

    def start_from(self, folder: Path) -> None:
        load_started(self.model, torch.load(folder / "part.pt", weights_only=True), folder)

    def export(self) -> None:
        torch.save(self.model.state_dict(), Path(self.config.run) / "part.pt")


def config(folder: Path, **changes: object) -> LineConfig:
    settings = {"run": str(folder), "minutes": 1e9, "max_steps": 8, "learning_rate": 0.1}
    return LineConfig(**(settings | changes))  # type: ignore[arg-type]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "part.pt", weights_only=True)


@pytest.mark.parametrize("use_muon", [True, False])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path, use_muon: bool) -> None:
    LineTask(config(tmp_path / "whole", use_muon=use_muon)).train()
    stopped = LineTask(config(tmp_path / "twice", use_muon=use_muon))
    for _ in range(5):
        stopped.step()
    stopped.run.save(stopped.state())
    LineTask(config(tmp_path / "twice", use_muon=use_muon)).train()
    for name, value in weights(tmp_path / "whole").items():
        torch.testing.assert_close(weights(tmp_path / "twice")[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("change", [{"width": 5}, {"use_muon": False}])
def test_other_settings_do_not_take_up_a_checkpoint(
    tmp_path: Path, change: dict[str, object]
) -> None:
    LineTask(config(tmp_path)).train()
    with pytest.raises(CheckpointError, match=r"other settings.*run="):
        LineTask(config(tmp_path, **change)).train()


def test_a_part_of_another_shape_is_no_start(tmp_path: Path) -> None:
    LineTask(config(tmp_path / "small")).train()
    with pytest.raises(CheckpointError, match=r"checkpoint in .*small was made with other"):
        LineTask(config(tmp_path / "wide", width=5, start=str(tmp_path / "small"))).train()
    (tmp_path / "small" / "checkpoint.pt").unlink()  # the finished part alone
    start = {"start": str(tmp_path / "small")}
    with pytest.raises(CheckpointError, match=r"start=.*small.*layers.0.weight.*\(5, 5\)"):
        LineTask(config(tmp_path / "wide", width=5, **start)).train()
    LineTask(config(tmp_path / "alike", max_steps=1, learning_rate=0.0, **start)).train()
    for name, value in weights(tmp_path / "small").items():
        assert torch.equal(weights(tmp_path / "alike")[name], value)


def test_a_new_run_goes_on_from_an_earlier_one_with_its_optimizer(tmp_path: Path) -> None:
    LineTask(config(tmp_path / "first")).train()
    earlier = LineTask(config(tmp_path / "first"))
    earlier.resume()
    later = LineTask(config(tmp_path / "later", start=str(tmp_path / "first")))
    later.resume()
    assert later.run.step == 0
    assert earlier.run.step == 8
    later.run.step = 8  # the batches that the earlier run would see next
    for task in (earlier, later):
        task._progress = 0.5
        task.step()
    assert torch.equal(earlier.layer.weight, later.layer.weight)
    fresh = LineTask(config(tmp_path / "part"))
    (tmp_path / "alone").mkdir()
    torch.save(weights(tmp_path / "first"), tmp_path / "alone" / "part.pt")
    fresh.start_from(tmp_path / "alone")
    fresh.run.step, fresh._progress = 8, 0.5
    fresh.step()
    assert not torch.equal(fresh.layer.weight, later.layer.weight)  # without the optimizer's state


@pytest.mark.parametrize("codes", [{"new_codes": True}, {"old_codes": "before"}])
def test_a_run_does_not_go_on_with_other_codes(tmp_path: Path, codes: dict[str, object]) -> None:
    LineTask(config(tmp_path / "first")).train()
    later = LineTask(config(tmp_path / "later", start=str(tmp_path / "first"), **codes))
    with pytest.raises(ConfigError, match=r"start=.*first is a run.*its out"):
        later.resume()


def test_a_compiled_run_equals_a_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Size] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., object]:
        seen.extend(value.shape for value in inputs if not isinstance(value, nn.Parameter))
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=backend))
    monkeypatch.setattr(task_module, "find_compiler", lambda: "/usr/bin/c++")
    LineTask(config(tmp_path / "plain", validate_every=2)).train()
    LineTask(config(tmp_path / "compiled", validate_every=2, use_compile=True)).train()
    assert seen == [(8, 4)]  # the batches alone: validation has other lengths each time
    for name, value in weights(tmp_path / "plain").items():
        torch.testing.assert_close(weights(tmp_path / "compiled")[name], value)


def test_nothing_is_compiled_without_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(task_module, "find_compiler", lambda: None)
    with caplog.at_level(logging.WARNING):
        LineTask(config(tmp_path, use_compile=True)).train()
    assert "needs a C++ compiler" in caplog.text
    assert weights(tmp_path)
