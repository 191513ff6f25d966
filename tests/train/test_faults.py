"""Numbers that stop being finite end a run with the step and the layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netsuke import Error, Preprocess
from netsuke.data import ArrayDataset
from netsuke.train import Augment, Output, Recipe, checkpoint, fit
from netsuke.train.faults import first_fault

IMAGES = np.random.RandomState(0).randint(0, 256, (40, 1, 6, 6)).astype(np.uint8)
DATA = ArrayDataset("noise", ("a", "b"), IMAGES, np.arange(40) % 2)


class Bad(nn.Module):
    """The identity, but for one number, after so many calls: in the output, or in the gradient."""

    def __init__(self, calls: int, where: str, value: float) -> None:
        super().__init__()
        self.left, self.where, self.value = calls, where, value

    def forward(self, x: Tensor) -> Tensor:
        self.left -= min(len(x), 1)  # len: torch.fx cannot trace it, so the network is not rewritten around the count
        if self.left >= 0:
            return x
        spoiled = x.clone()
        if self.where == "output":
            spoiled[0, 0, 0, 0] = self.value
        else:
            spoiled.register_hook(lambda gradient: gradient * self.value)
        return spoiled


def network(bad: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), bad, nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 2))


def train(model: nn.Module, output: Output | None = None, **values: Any) -> None:
    recipe = Recipe.from_table({"model": {"name": "x"}, "epochs": 3, "batch": 10, **values})
    fit(model, recipe, DATA, Augment(Preprocess((0.5,), (0.5,))), output=output)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_output_that_is_not_finite_is_named_with_its_step(value: float, tmp_path: Path) -> None:
    with pytest.raises(Error) as caught:
        train(network(Bad(6, "output", value)), Output(tmp_path, checkpoint_steps=1))
    message = str(caught.value)
    assert message.startswith("step 7 (epoch 2, batch 3) has the loss ")
    assert "the output of 2 (Bad) is the first that is not finite" in message
    assert "learning_rate" in message
    assert len(message.splitlines()) == 2
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    assert state["position"]["step"] == 6
    assert all(bool(torch.isfinite(value).all()) for value in state["model"].values())


def test_a_gradient_that_is_not_finite_is_caught_by_clipping() -> None:
    with pytest.raises(Error, match=r"step 7 .*the gradient that comes to the output of 2 is the first"):
        train(network(Bad(6, "gradient", float("nan"))), clip_gradient=1.0)


def test_a_gradient_that_is_not_finite_never_reaches_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"after step 7 the weight 0\.weight is not finite"):
        train(network(Bad(6, "gradient", float("nan"))), Output(tmp_path, checkpoint_steps=1))
    assert checkpoint.load(tmp_path / "checkpoint.pt")["position"]["step"] == 6


def test_a_rate_that_is_too_high_is_a_fault_of_the_weights() -> None:
    model = network(nn.Identity())
    with pytest.raises(Error, match="not finite"):
        train(model, optimizer={"learning_rate": 1e30, "momentum": 0.0})


def test_first_faults_without_a_loop() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    x = torch.ones(1, 2)
    assert "there is none" in first_fault(model, lambda: model(x).sum())
    inplace = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2))
    assert "comes to the output of 2" in first_fault(inplace, lambda: (inplace(x).sum() - inplace(x).sum()).sqrt())
    assert "the loss itself" in first_fault(model, lambda: model(x).sum() * float("inf"))
    with torch.no_grad():
        model[1].bias[0] = float("nan")
    assert first_fault(model, lambda: model(x).sum()) == "the weight 1.bias, made so by the step before, is the first"
