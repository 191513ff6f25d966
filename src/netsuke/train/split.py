"""Layers of low rank as a recipe asks for them: split once, and found again in the folder of the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from netsuke import atomic
from netsuke.artifact.contract import Error
from netsuke.data import Dataset, Preprocess, normalise
from netsuke.methods import factorize, low_rank
from netsuke.models import load_weights
from netsuke.train.recipe import Recipe

BATCH = 64


def split(
    model: nn.Module,
    recipe: Recipe,
    data: Dataset,
    preprocess: Preprocess,
    folder: Path,
    progress: Callable[[str], None] | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """The trained `model` with its layers split as `recipe.low_rank` says, and what became of them.

    Written into `folder`, from where a second call has it: ranks.json (`netsuke.factorize`), split.safetensors (the
    weights), split.json (the values of a LowRankReport, but for its ranks, and what it was made of). progress: called
    with the name of each layer before it is fitted. Raises netsuke.Error as `netsuke.low_rank`, and where the folder
    holds layers that were split by other settings.
    """
    if not recipe.model.weights:
        raise Error("low_rank splits a trained network: give its checkpoint as model.weights")
    wanted = recipe.low_rank
    settings = {"low_rank": asdict(wanted), "model": asdict(recipe.model), "seed": recipe.seed, "images": len(data)}
    settings = json.loads(json.dumps(settings))
    path, ranks, weights = folder / "split.json", folder / "ranks.json", folder / "split.safetensors"
    if path.exists():
        found = json.loads(path.read_text())
        if found["settings"] != settings:
            raise Error(f"{path} is of other settings: choose another --out, or give the same settings")
        return load_weights(factorize(model, json.loads(ranks.read_text())), weights), found
    made = low_rank(
        model.eval(), _Images(data, min(wanted.images, len(data)), preprocess), wanted.speedup, wanted.reconstruction,
        wanted.linear_speedup, list(wanted.skip), seed=recipe.seed, progress=progress,
    )  # fmt: skip
    report: Any = made.netsuke_report
    found = {"settings": settings, "speedup": report.speedup, **asdict(report)}
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write(weights, safetensors.torch.save({k: v.contiguous() for k, v in made.state_dict().items()}))
    write_json(ranks, found.pop("ranks"))
    write_json(path, found)
    return made, json.loads(path.read_text())


def write_json(path: Path, value: Any) -> None:
    atomic.write(path, (json.dumps(value, indent=1) + "\n").encode())


class _Images:
    """Evenly spaced images as a network takes them, batch by batch, as often as they are asked for."""

    def __init__(self, data: Dataset, count: int, preprocess: Preprocess) -> None:
        self._data, self._count, self._preprocess = data, count, preprocess

    def __iter__(self) -> Iterator[Tensor]:
        for images, _ in self._data.batches(BATCH, self._count):
            yield torch.from_numpy(normalise(images, self._preprocess))
