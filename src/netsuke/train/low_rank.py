"""Layers of low rank as one job (Zhang et al. 2016): split on training images, measured, trained further, exported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from netsuke import atomic
from netsuke.artifact.contract import Error
from netsuke.data import Dataset, Preprocess, holdout, normalise, open_dataset
from netsuke.methods import factorize, low_rank
from netsuke.models import create_model, get_model, load_weights
from netsuke.train.deep_compression import tensors
from netsuke.train.loop import Output, Progress, accuracy
from netsuke.train.recipe import Recipe
from netsuke.train.run import run

BATCH = 64


@dataclass(frozen=True)
class Split:
    """What `netsuke.low_rank` is asked for. images: how many training images it looks at, evenly spaced."""

    speedup: float = 4.0
    reconstruction: str = "asymmetric"
    linear_speedup: float = 1.0
    images: int = 3000


def split_and_train(
    recipe: Recipe,
    spec: str,
    folder: Path,
    export: Callable[[Path, Path], None],
    split: Split | None = None,
    device: str = "auto",
    say: Callable[[str], None] = print,
    progress: Callable[[str, Progress], None] | None = None,
) -> dict[str, Any]:
    """Make the trained network of `recipe.model` (with its weights) cheaper in `folder`, from where it stands there.

    The network is split by `netsuke.low_rank` and trained further by the recipe, whose `validation` images are held
    out of both, and measured on: if the network was trained on them before, they say less than they seem to. The test
    split is not opened. export: (folder of a run, file to write).

    `folder` is that of a training run, with ranks.json beside it (`netsuke.factorize`), split.safetensors and
    split.json (the network before that training), compressed.netsuke, and report.json, which is returned: per cent of
    the held-out images wrong by the float network, the split one and at the end, multiply-accumulates, and layers.

    Raises netsuke.Error as `netsuke.low_rank` and `run`, for a recipe that compresses by itself, or holds no images
    out, and where the folder is of other settings.
    """
    split = split or Split()
    _check(recipe)
    entry = get_model(recipe.model.name)
    preprocess = Preprocess(**entry.preprocess)
    data = open_dataset(spec, "train", preprocess, channels=entry.input[0])
    rest, held_out = holdout(data, recipe.validation, recipe.seed)
    # The classes are written down: the names of a split network's weights do not tell them.
    arguments = {"num_classes": data.num_classes, **recipe.model.arguments}
    recipe = replace(recipe, model=replace(recipe.model, arguments=arguments))
    model = create_model(recipe.model.name, **arguments)
    load_weights(model, recipe.model.weights).eval()
    made, found = _split(model, recipe, split, rest, held_out, preprocess, folder, say)

    def told(now: Progress) -> None:
        if progress is not None:
            progress("fine-tuning", now)

    trained = run(recipe, spec, Output(folder), device, told, model=made)
    file = folder / "compressed.netsuke"
    export(folder, file)
    result = {
        "model": recipe.model.name,
        "data": spec,
        "held_out": len(held_out),
        **{key: value for key, value in found.items() if key != "settings"},
        "error": 100 - trained["validation_accuracy"],
        "bytes": file.stat().st_size,
    }
    _write(folder / "report.json", result)
    return result


def _check(recipe: Recipe) -> None:
    if not recipe.model.weights:
        raise Error("there are no weights to split: give the checkpoint of a trained network")
    if not recipe.validation:
        raise Error("images must be held out to measure on: set validation in the recipe")
    plain = Recipe(recipe.model, 1)
    for table in ("quantize", "prune", "share", "ternary", "rate"):
        if getattr(recipe, table) != getattr(plain, table):
            raise Error(f"the recipe of a split network trains plain weights: leave {table} out")


def _split(
    model: nn.Module,
    recipe: Recipe,
    split: Split,
    rest: Dataset,
    held_out: Dataset,
    preprocess: Preprocess,
    folder: Path,
    say: Callable[[str], None],
) -> tuple[nn.Module, dict[str, Any]]:
    """The split network, and what became of it; both as they are in the folder, where they are."""
    settings = {**asdict(split), "model": asdict(recipe.model), "held_out": len(held_out), "seed": recipe.seed}
    path, weights = folder / "split.json", folder / "split.safetensors"
    if path.exists():
        found = json.loads(path.read_text())
        if found["settings"] != settings:
            raise Error(f"{path} is of other settings: choose another --out, or give the same settings")
        made = factorize(model, json.loads((folder / "ranks.json").read_text()))
        return load_weights(made, weights), found
    images, labels = tensors(held_out, preprocess)
    before = 100 - accuracy(model, images, labels)
    say(f"{recipe.model.name}: {before:.2f} % of the {len(images):,} held-out images wrong")
    calibration = _Images(rest, min(split.images, len(rest)), preprocess)
    made = low_rank(
        model, calibration, split.speedup, split.reconstruction, split.linear_speedup, seed=recipe.seed,
        progress=lambda name: say(f"fitting {name}"),
    )  # fmt: skip
    report: Any = made.netsuke_report
    after = 100 - accuracy(made, images, labels)
    say(f"{report.speedup:.2f} times fewer multiply-accumulates in its convolutions: {after:.2f} % wrong")
    found = {
        "settings": settings,
        "speedup": report.speedup,
        **{key: value for key, value in asdict(report).items() if key != "ranks"},
        "float_error": before,
        "split_error": after,
    }
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write(weights, safetensors.torch.save({k: v.contiguous() for k, v in made.state_dict().items()}))
    _write(folder / "ranks.json", report.ranks)
    _write(path, found)
    return made, json.loads(path.read_text())


class _Images:
    """Evenly spaced images as a network takes them, batch by batch, as often as they are asked for."""

    def __init__(self, data: Dataset, count: int, preprocess: Preprocess) -> None:
        self._data, self._count, self._preprocess = data, count, preprocess

    def __iter__(self) -> Iterator[Tensor]:
        for images, _ in self._data.batches(BATCH, self._count):
            yield torch.from_numpy(normalise(images, self._preprocess))


def _write(path: Path, value: Any) -> None:
    atomic.write(path, (json.dumps(value, indent=1) + "\n").encode())
