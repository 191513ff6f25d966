"""What BNext's two designs are worth on CIFAR-10: attention and Info-Recoupling, both, each alone, neither.

Narrow BNext-18s and their float twin, from scratch on the labels of all training images, by one recipe and one budget;
three seeds each. Every run is a folder that `netsuke train` could have written: `netsuke report OUT` shows them, with
their loss landscapes. Nothing is chosen by an outcome, and the test images are looked at once, when a run is over.

    python -m benchmarks.bnext_ablation --data cifar10:../shared/data/cifar-10-batches-bin --out runs/bnext_ablation \
        [--threads 2] [--share 1/2] [--page FILE]

It may be killed at any time: started again it goes on where it was. --share 1/2 and --share 2/2 are two processes that
halve the runs between them; once all runs are there, either prints the outcome, as does another start.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.study import add_arguments, conclude, measure, result_of, run_missing, share_of, spread, table

from netsuke import Error, Preprocess
from netsuke.cli.machine import cpu_name
from netsuke.data import open_dataset
from netsuke.models import create_model, get_model, load_weights
from netsuke.train import Output, Recipe, read_recipe, run

RECIPE = "bnext18-cifar10"
MODEL = "bnext18_cifar"
DESIGNS: dict[str, dict[str, bool]] = {
    "both": {},
    "attention": {"recoupling": False},
    "recoupling": {"attention": False},
    "neither": {"attention": False, "recoupling": False},
    "float": {},
}
WORDS = {
    "both": "attention and recoupling",
    "attention": "attention alone",
    "recoupling": "recoupling alone",
    "neither": "neither",
    "float": "the float twin of the first",
}


@dataclass(frozen=True)
class Study:
    """spec: of the data. width: times BNext-18's channels."""

    spec: str
    out: Path
    epochs: int = 10
    seeds: int = 3
    batch: int = 128
    width: float = 0.25
    precision: str = "bfloat16"

    def runs(self) -> list[tuple[str, int]]:
        """Seed by seed, so that a study that is cut off has all designs."""
        return [(name, seed) for seed in range(self.seeds) for name in DESIGNS]

    def folder(self, name: str, seed: int) -> Path:
        return self.out / f"{name}-{seed}"

    def settings(self) -> dict[str, Any]:
        """What all results must share."""
        return {"epochs": self.epochs, "batch": self.batch, "width": self.width, "precision": self.precision}

    def model(self, name: str) -> tuple[str, dict[str, Any]]:
        registry = get_model(MODEL).float_counterpart if name == "float" else MODEL
        return registry, {"width": self.width, **DESIGNS[name]}

    def recipe(self, name: str, seed: int) -> Recipe:
        recipe = read_recipe(RECIPE, epochs=self.epochs)
        model, arguments = self.model(name)
        return replace(
            recipe,
            seed=seed,
            batch=self.batch,
            precision=self.precision,
            validation=0,
            model=replace(recipe.model, name=model, arguments=arguments),
        )


def train(study: Study, name: str, seed: int) -> dict[str, Any]:
    """Train one network, from where it stands, and measure it on the test images."""
    folder = study.folder(name, seed)
    row = run(study.recipe(name, seed), study.spec, Output(folder), device="cpu")
    model, arguments = study.model(name)
    preprocess = Preprocess(**get_model(model).preprocess)
    test = open_dataset(study.spec, "test", preprocess)
    network = load_weights(create_model(model, test.num_classes, **arguments), folder / "model.safetensors").eval()
    return {"design": name, "seed": seed, "test": measure(network, test, preprocess), "last_epoch": row}


def outcome(study: Study) -> dict[str, Any] | None:
    """What each design reached, and how far from both, seed by seed. None while runs are missing."""
    found = {of: result_of(study.folder(*of), study.settings()) for of in study.runs()}
    if any(result is None for result in found.values()):
        return None
    results = {of: result for of, result in found.items() if result is not None}
    top1 = {of: result["test"]["top1"] for of, result in results.items()}
    rows = []
    for name in DESIGNS:
        seeds = range(study.seeds)
        rows.append(
            {
                "name": name,
                "top1": spread([top1[name, seed] for seed in seeds]),
                "train": spread([results[name, seed]["last_epoch"]["train_accuracy"] for seed in seeds]),
                "behind": spread([top1[name, seed] - top1["both", seed] for seed in seeds]),
            }
        )
    kept = [{k: v for k, v in result.items() if k != "study"} for result in results.values()]
    return {**study.settings(), "seeds": study.seeds, "machine": cpu_name(), "rows": rows, "runs": kept}


def page(found: dict[str, Any]) -> str:
    """The outcome as a page."""
    lines: list[Sequence[str]] = [["design", "test", "against both", "training images"]]
    for row in found["rows"]:
        behind = "" if row["name"] == "both" else "{mean:+.2f} ± {deviation:.2f}".format_map(row["behind"])
        reached = ["{mean:.2f} ± {deviation:.2f}".format_map(row[of]) for of in ("top1", "train")]
        lines.append([WORDS[row["name"]], reached[0], behind, reached[1]])
    return f"""# BNext's designs on CIFAR-10

Written by `benchmarks/bnext_ablation.py`, never by hand; that file says how.

BNext-18 at {found["width"]:g} of its width, {found["epochs"]} epochs of all training images in batches of
{found["batch"]}, on the labels, {found["seeds"]} seeds, on {found["machine"]}. Top-1 in per cent, mean and sample
deviation over the seeds; differences are between runs of the same seed.

{table(lines)}

A short schedule at a narrow width does not say what a long one at full width would.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, threads=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=float, default=0.25, help="times BNext-18's channels")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    study = Study(given.data, given.out, given.epochs, given.seeds, given.batch, given.width, given.precision)
    try:
        share, of = share_of(given.share)
        mine = study.runs()[share - 1 :: of]
        said = "{}, seed {}".format
        run_missing([(study.folder(*r), said(*r), partial(train, study, *r)) for r in mine], study.settings())
        conclude(outcome(study), page, given.out, given.page)
    except Error as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
