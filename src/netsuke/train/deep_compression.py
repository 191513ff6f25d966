"""Deep Compression as one job (Han et al. 2016): rounds of pruning and retraining, each with its weights shared and
measured as a file, so that what is chosen is a file of a known size.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from netsuke import atomic
from netsuke.analyze.sensitivity import Sensitivity, sensitivity
from netsuke.artifact.contract import Error
from netsuke.data import Dataset, Preprocess, holdout, normalise, open_dataset
from netsuke.methods.share import MOST_BITS
from netsuke.models import create_model, get_model, load_weights
from netsuke.nn.targets import weighted
from netsuke.train.loop import Output, Progress, accuracy
from netsuke.train.recipe import Optimizer, Pruning, Recipe, Schedule, Sharing
from netsuke.train.run import run

SENSITIVITY_IMAGES = 1000  # of those held out
SHARED_RATE = 1e-4  # of AdamW: a shared number's gradient is the sum of its weights', of any size
Say = Callable[[str], None]


@dataclass(frozen=True)
class Goal:
    """error: the most per cent of the held-out images that may be wrong. size: the most bytes of the file. At most one
    of them; with neither all rounds are run, and the last is taken."""

    error: float | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if self.error is not None and self.size is not None:
            raise Error("give a target error or a target size: one decides about the other")


@dataclass(frozen=True)
class Candidate:
    """What a round has made. density: the share of weights that are not 0. error: per cent of the held-out images."""

    round: int
    density: float
    pruned_error: float
    error: float
    bytes: int
    file: str


def deep_compression(
    recipe: Recipe,
    spec: str,
    folder: Path,
    export: Callable[[Path, Path], None],
    goal: Goal | None = None,
    rounds: int = 6,
    keep: float = 0.6,
    bits: int = 5,
    device: str = "auto",
    say: Say = print,
    progress: Callable[[str, Progress], None] | None = None,
) -> dict[str, Any]:
    """Compress the trained network of `recipe.model` (with its weights) to one file, in `folder`, from where it stands.

    A round prunes to the share `keep` of the weights that are left, or a larger one where the goal's size is near, and
    retrains, by the recipe; then shares them among 2^bits - 1 numbers a layer (`netsuke.share`), which AdamW trains for
    a third of its epochs, and exports. Which layer loses how much is decided once, by their sensitivity
    (`netsuke.analyze.sensitivity`, on images held out). Rounds end when the goal's size is reached, or its error
    exceeded; then the smallest file that keeps to the error is taken.

    recipe: of the retraining, with `validation` images held out, on which everything is measured: if the network was
    trained on them before, they say less than they seem to. export: (folder of a run, file to write).

    In `folder`: sensitivity.json, a run's folder for each step, round-N.netsuke, and report.json, which is returned;
    `chosen` in it is the number of a round, or None where no round reached the goal.

    Raises netsuke.Error as `run`, and for a recipe that prunes or shares by itself, or holds no images out.
    """
    goal = goal or Goal()
    _check(recipe, rounds, keep, bits)
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = Preprocess(**get_model(recipe.model.name).preprocess)
    data = open_dataset(spec, "train", preprocess, channels=get_model(recipe.model.name).input[0])
    _, held_out = holdout(data, recipe.validation, recipe.seed)
    recipe = recipe.of_data(data)
    model = create_model(recipe.model.name, **recipe.model.arguments)
    load_weights(model, recipe.model.weights).eval()
    counts = {name: layer.weight.numel() for name, layer in weighted(model).items()}
    images, labels = tensors(held_out, preprocess)
    before = 100 - accuracy(model, images, labels)
    say(f"{recipe.model.name}: {before:.2f} % of the {len(images):,} held-out images wrong")
    found = _sensitivity(model, images, labels, folder / "sensitivity.json", say)

    made: list[Candidate] = []
    weights, density = recipe.model.weights, 1.0
    for r in range(1, rounds + 1):
        density *= keep if goal.size is None or not made else _share_left(goal.size, made[-1].bytes, keep)
        sparsity = found.to_density(density, counts)
        steps = replace(
            recipe, prune=replace(recipe.prune, sparsity=sparsity), model=replace(recipe.model, weights=weights)
        )
        pruned = _run(f"round {r}: prune", steps, spec, folder / f"{r}-prune", device, progress)
        weights = pruned["out"]
        short = replace(
            recipe,
            epochs=max(1, recipe.epochs // 3),
            prune=Pruning(),
            share=Sharing(dict.fromkeys(counts, bits)),
            model=replace(recipe.model, weights=weights),
            optimizer=Optimizer("adamw", SHARED_RATE),
            schedule=Schedule("cosine"),
        )
        shared = _run(f"round {r}: share", short, spec, folder / f"{r}-share", device, progress)
        file = folder / f"round-{r}.netsuke"
        export(folder / f"{r}-share", file)
        made.append(
            Candidate(
                r, density, 100 - pruned["validation_accuracy"], 100 - shared["validation_accuracy"],
                file.stat().st_size, file.name,
            )
        )  # fmt: skip
        now = made[-1]
        say(f"round {r}: {100 * now.density:.1f} % of the weights left, {now.bytes:,} bytes, {now.error:.2f} % wrong")
        if goal.size is not None and now.bytes <= goal.size or goal.error is not None and now.error > goal.error:
            break
    chosen = _choose(made, goal)
    result = {
        "model": recipe.model.name,
        "data": spec,
        "held_out": len(images),
        "float_error": before,
        "goal": asdict(goal),
        "rounds": [asdict(candidate) for candidate in made],
        "chosen": chosen.round if chosen else None,
    }
    atomic.write(folder / "report.json", (json.dumps(result, indent=1) + "\n").encode())
    return result


def _share_left(size: int, now: int, keep: float) -> float:
    """What a round leaves: `keep`, or as much as brings a file of `now` bytes to `size`, with something to spare."""
    return max(keep, min(0.95, 0.95 * size / now))


def _check(recipe: Recipe, rounds: int, keep: float, bits: int) -> None:
    if not recipe.model.weights:
        raise Error("there are no weights to compress: give the checkpoint of a trained network")
    if not recipe.validation:
        raise Error("images must be held out to measure on: set validation in the recipe")
    if rounds < 1 or not 0 < keep < 1:
        raise Error(
            f"{rounds} rounds that keep {keep:g} of the weights each: give 1 or more, and a share between 0 and 1"
        )
    if not 1 <= bits <= MOST_BITS:
        raise Error(f"a weight of {bits} bits: give a whole number, 1 to {MOST_BITS}")
    if recipe.prune.quality or recipe.prune.sparsity or recipe.share.bits or recipe.rate.step or recipe.low_rank.splits:
        raise Error("the recipe compresses in ways of its own: leave prune, share, rate and low_rank out")


def _run(
    name: str, recipe: Recipe, spec: str, folder: Path, device: str, progress: Callable[[str, Progress], None] | None
) -> dict[str, Any]:
    def told(now: Progress) -> None:
        if progress is not None:
            progress(name, now)

    return run(recipe, spec, Output(folder), device, told)


def tensors(data: Dataset, preprocess: Preprocess) -> tuple[torch.Tensor, torch.Tensor]:
    """All images, as a network takes them, and their labels."""
    parts = [(normalise(images, preprocess), labels) for images, labels in data.batches(256)]
    images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return torch.from_numpy(images), torch.from_numpy(labels)


def _sensitivity(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, path: Path, say: Say) -> Sensitivity:
    if path.exists():
        held = json.loads(path.read_text())
        return Sensitivity(tuple(held["shares"]), {name: tuple(scores) for name, scores in held["scores"].items()})
    say("measuring how sensitive the layers are")
    at = torch.linspace(0, len(images) - 1, min(SENSITIVITY_IMAGES, len(images))).long()
    few, own = images[at], labels[at]
    found = sensitivity(copy.deepcopy(model), lambda pruned: accuracy(pruned, few, own))
    atomic.write(path, json.dumps(asdict(found)).encode())
    return found


def _choose(made: list[Candidate], goal: Goal) -> Candidate | None:
    if goal.error is not None:
        fits = [candidate for candidate in made if candidate.error <= goal.error]
        return min(fits, key=lambda candidate: candidate.bytes, default=None)
    return made[-1] if goal.size is None or made[-1].bytes <= goal.size else None
