"""Muon beside AdamW: which parameters go where, and a checkpoint that goes on to the bit."""

import io

import pytest
import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError
from antiphon.training.optimizers import OptimizerPair, build_optimizer, layer_matrices


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.layers = nn.ModuleList([nn.Linear(8, 8), nn.Conv1d(8, 8, 3), nn.LayerNorm(8)])
        self.sublayers = nn.ModuleList([nn.Linear(8, 8)])
        self.head = nn.Linear(8, 5)
        self.layers.register_parameter("kept", nn.Parameter(torch.ones(2, 2), requires_grad=False))

    def forward(self, ids: Tensor) -> Tensor:
        linear, convolution, norm = self.layers
        states = linear(self.embedding(ids))
        states = convolution(states.transpose(1, 2)).transpose(1, 2)
        return self.head(self.sublayers[0](norm(states)))


def network() -> Network:
    torch.manual_seed(0)
    return Network()


def test_only_the_layers_matrices_are_moved_by_muon() -> None:
    model = network()
    assert layer_matrices(model) == [model.layers[0].weight]
    pair = build_optimizer(model, 1e-3, use_muon=True)
    assert isinstance(pair, OptimizerPair)
    muon, adamw = pair.parts
    assert isinstance(muon, torch.optim.Muon)
    assert [p for group in muon.param_groups for p in group["params"]] == layer_matrices(model)
    by_adamw = {id(p) for group in adamw.param_groups for p in group["params"]}
    learning = {id(p) for p in model.parameters() if p.requires_grad}
    assert by_adamw == learning - {id(model.layers[0].weight)}


def test_without_muon_one_optimizer_has_all_and_vectors_do_not_decay() -> None:
    model = network()
    optimizer = build_optimizer(model, 1e-3, use_muon=False, weight_decay=0.3)
    assert type(optimizer) is torch.optim.AdamW
    decayed, others = optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0)
    assert {p.ndim for p in decayed["params"]} == {2, 3}
    assert {p.ndim for p in others["params"]} == {1}
    assert len(decayed["params"]) + len(others["params"]) == 11


def test_muons_steps_have_the_size_of_adamws() -> None:
    """Moonlight scales them to a root mean square of 0.2 of the learning rate."""
    model = network()
    pair, matrix = build_optimizer(model, 1e-2, use_muon=True), model.layers[0].weight
    before = matrix.detach().clone()
    learn(model, pair, [0])
    moved = (before * (1 - 1e-2 * 0.01) - matrix.detach()).square().mean().sqrt()
    assert 0.1e-2 < moved < 0.3e-2


def learn(model: Network, optimizer: OptimizerPair, steps: list[int]) -> None:
    for step in steps:
        ids = torch.randint(7, (4, 6), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(ids).flatten(0, 1), ids[:, 2:].flatten() % 5).backward()
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (1 + step)
        optimizer.step()


def test_a_reloaded_pair_goes_on_as_if_unbroken() -> None:
    unbroken, stopped = network(), network()
    first = build_optimizer(unbroken, 1e-2, use_muon=True)
    learn(unbroken, first, [0, 1, 2, 3, 4, 5])
    second = build_optimizer(stopped, 1e-2, use_muon=True)
    learn(stopped, second, [0, 1, 2])
    file = io.BytesIO()
    torch.save({"model": stopped.state_dict(), "optimizer": second.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed = Network()
    third = build_optimizer(resumed, 0.5, use_muon=True)
    resumed.load_state_dict(state["model"])
    third.load_state_dict(state["optimizer"])
    learn(resumed, third, [3, 4, 5])
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_an_older_torch_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ConfigError, match=r"use_muon=true needs torch 2\.9"):
        build_optimizer(network(), 1e-3, use_muon=True)
