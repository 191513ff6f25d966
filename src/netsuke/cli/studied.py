"""A training run and its network: what it costs, what it reaches, how the loss around it is shaped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from netsuke.cli.checkpoint import load_run
from netsuke.cli.evaluate import Classifier, accuracy
from netsuke.cli.output import remark, stderr_console
from netsuke.cli.profile import PICOJOULES, cost_of
from netsuke.data import Dataset, Preprocess, holdout, normalise, open_dataset

if TYPE_CHECKING:
    from torch import nn

    from netsuke.analyze import Cost, Landscape
    from netsuke.analyze.landscape import Statistics
    from netsuke.report import Run


@dataclass(frozen=True)
class Survey:
    """What a landscape is made with; as the arguments of `netsuke.analyze.loss_landscape`. images: how many."""

    points: int
    images: int
    radius: float
    seed: int
    statistics: Statistics


@dataclass
class Studied:
    """module: with the trained weights. It, cost and classes are None while the run has no weights yet."""

    run: Run
    preprocess: Preprocess
    module: nn.Module | None = None
    cost: Cost | None = None
    classes: int | None = None
    test: dict[str, Any] | None = None
    landscape: Landscape | None = field(default=None, repr=False)

    def facts(self) -> dict[str, Any]:
        from netsuke.analyze.landscape import summary

        cost = self.cost
        return {
            "name": self.run.name,
            "model": self.run.model,
            "epoch": len(self.run.rows),
            "loss": self.run.last("loss"),
            "train_accuracy": self.run.last("train_accuracy"),
            "held_out": self.run.last(self.run.held_out),
            "test": self.test,
            "parameters": None if cost is None else cost.parameters,
            "ops": None if cost is None else cost.ops(),
            "size_bytes": None if cost is None else cost.size_bytes(),
            "energy_millijoule": None if cost is None else cost.energy.total / PICOJOULES,
            "landscape": None if self.landscape is None else summary(self.landscape),
        }


def study(run: Run, data: str | None) -> Studied:
    """The run's network, its cost and, given data, its accuracy on the test images."""
    from netsuke.models import get_model

    made = Studied(run, Preprocess(**get_model(run.model).preprocess))
    if run.weights is None:
        remark(f"{run.name} has no weights yet: of it there are only the figures of its log")
        return made
    network = load_run(run)
    arguments, shape = network.arguments, network.entry.input
    made.module, made.classes = network.module, arguments["num_classes"]
    if data is not None:
        dataset = opened(made, data, "test")
        images, _ = dataset.read(np.arange(1))
        shape = images.shape[1], images.shape[2], images.shape[3]
        made.test = accuracy(Classifier(lambda x: _logits(made, x), shape, made.preprocess, {}), dataset)
    made.cost, _ = cost_of(run.model, arguments, shape[1])
    return made


def opened(studied: Studied, data: str, split: str) -> Dataset:
    return open_dataset(data, split, studied.preprocess, channels=len(studied.preprocess.mean))


def survey(studied: Studied, data: str, wanted: Survey) -> None:
    """The landscape of a run with weights, on evenly spaced images that it was trained on, kept in the run's folder."""
    if studied.module is None:
        return
    import torch
    from rich.progress import Progress

    from netsuke.analyze import loss_landscape

    run, dataset = studied.run, opened(studied, data, "train")
    if run.recipe.get("validation"):
        dataset, _ = holdout(dataset, run.recipe["validation"], run.recipe.get("seed", 0))
    images, labels = (np.concatenate(parts) for parts in zip(*dataset.batches(250, wanted.images), strict=True))
    with Progress(console=stderr_console(), transient=True) as bars:
        bar = bars.add_task(f"landscape of {run.name}", total=1.0)
        studied.landscape = loss_landscape(
            studied.module,
            torch.from_numpy(normalise(images, studied.preprocess)),
            torch.from_numpy(labels),
            wanted.points,
            wanted.radius,
            wanted.seed,
            wanted.statistics,
            cache=run.folder / "landscape.json",
            progress=lambda share: bars.update(bar, completed=share),
        )


def _logits(studied: Studied, images: np.ndarray) -> np.ndarray:
    import torch

    assert studied.module is not None
    with torch.inference_mode():
        return studied.module(torch.from_numpy(normalise(images, studied.preprocess))).numpy()
