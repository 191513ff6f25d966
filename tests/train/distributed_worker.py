"""What tests/train/test_distributed.py runs in one process, and under torchrun in two: short runs in float64.

    torchrun ... distributed_worker.py FOLDER STEPS

writes FOLDER/losses-RANK.json, FOLDER/state-RANK.pt, FOLDER/moving-RANK.pt and the runs' own folders.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from netsuke import Preprocess
from netsuke.data import ArrayDataset
from netsuke.nn import BinaryConv2d, Maxout
from netsuke.train import Augment, Output, Progress, Recipe, Teachers, fit, make_fabric

torch.set_num_threads(1)
BATCH, CLASSES, BATCHES = 8, 4, 5


class FrozenNorm(nn.BatchNorm2d):
    """Batch norm with fixed statistics, in training too."""

    def train(self, mode: bool = True) -> Self:
        return super().train(False)


class Stop(Exception):
    """Stands for a kill."""


def dataset(count: int, seed: int) -> ArrayDataset:
    random = np.random.RandomState(seed)
    images = random.randint(0, 256, (count, 3, 8, 8)).astype(np.uint8)
    return ArrayDataset("noise", tuple("abcd"), images, random.randint(0, CLASSES, count))


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), FrozenNorm(8), Maxout(8),
        BinaryConv2d(8, 8, 3, padding=1), FrozenNorm(8), Maxout(8),
        BinaryConv2d(8, 8, 3, padding=1), FrozenNorm(8), Maxout(8),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES),
    )  # fmt: skip


def recipe(steps: int, **values: Any) -> Recipe:
    table: dict[str, Any] = {
        "model": {"name": "x"},
        "epochs": steps // BATCHES,
        "batch": BATCH,
        "precision": "float64",
        "clip_gradient": 1.0,
        "optimizer": {"learning_rate": 0.05, "weight_decay": 1e-3},
        "schedule": {"warmup": 0.1},
        "loss": {"kind": "soft", "label_weight": 0.5},
        "teacher": [{"model": "x"}],
    }
    return Recipe.from_table({**table, **values})


def work(folder: Path, steps: int) -> None:
    fabric = make_fabric("cpu", "float64")
    augment = Augment(Preprocess((0.5,) * 3, (0.25,) * 3), crop_padding=1, flip=True)
    data, held_out = dataset(BATCH * BATCHES + 3, 0), dataset(21, 1)
    losses: dict[int, float] = {}
    stop = steps // 2 + 2  # within an epoch, two steps behind a checkpoint

    def record(now: Progress) -> None:
        step = round(now.share * steps)
        losses[step] = now.loss
        if step == stop and fresh:
            raise Stop

    model: nn.Module = nn.Identity()
    for fresh in (True, False):  # noqa: B007 (record reads it)
        model = network(0)
        with contextlib.suppress(Stop):
            output = Output(folder / "run", checkpoint_steps=steps // 2)
            teachers = Teachers([network(1)])
            fit(model, recipe(steps), data, augment, held_out, teachers, output, fabric, record)
    torch.save(model.state_dict(), folder / f"state-{fabric.global_rank}.pt")
    (folder / f"losses-{fabric.global_rank}.json").write_text(json.dumps(losses))

    # Statistics of batches: the first layer sees the images themselves, whatever the weights behind it become.
    torch.manual_seed(0)
    moving = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, CLASSES))
    plain = recipe(BATCHES, loss={}, teacher=[])
    fit(moving, plain, data, augment, output=Output(folder / "moving"), fabric=fabric)
    torch.save(moving.state_dict(), folder / f"moving-{fabric.global_rank}.pt")


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]))
