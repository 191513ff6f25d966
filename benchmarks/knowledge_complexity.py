"""Does knowledge complexity say which teacher to distil from? Four published CIFAR-10 ResNets teach small students.

Each teacher's soft labels alone teach a one-bit ResNet-8 (AdaBin's layers, one block a stage, 12 million
multiply-accumulates), from scratch, on all training images; the teachers' outputs of a few fixed augmentations of each
image are cached. The teachers were trained on all training images too, so only test images are held out for them:
the even ones give the score, and the odd ones the accuracy that it is compared with. Everything is fixed beforehand;
nothing is chosen by an outcome.

    python -m benchmarks.knowledge_complexity --models ../shared/models/resnet_cifar10 \
        --data cifar10:../shared/data/cifar-10-batches-bin --out build/knowledge_complexity [--share 1/2] [--page FILE]

It may be killed at any time: started again it goes on where it was. --share 1/2 and --share 2/2 are two processes that
halve the runs between them, one core each; once all runs are there, either prints the outcome, as does another start.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.study import (
    add_arguments,
    conclude,
    first_images,
    measure,
    result_of,
    run_missing,
    share_of,
    spread,
    table,
)
from torch import nn

from netsuke import Error, Preprocess
from netsuke.analyze import knowledge_complexity
from netsuke.cli.machine import cpu_name
from netsuke.data import Dataset, open_dataset, subset
from netsuke.models import create_model, get_model, load_weights
from netsuke.models.adabin_resnet import AdaBinCifarResNet
from netsuke.models.resnet import pad_shortcut
from netsuke.train import Output, Recipe, Teachers, fit, make_augment, read_recipe
from netsuke.train.cached_teachers import CachedTeachers
from netsuke.train.recipe import Loss, Teacher
from netsuke.train.views import FixedViews

NAMES = ("resnet20", "resnet32", "resnet44", "resnet56")
RECIPE = "adabin-cifar10-resnet20"
DEPTHS, WIDTHS = (1, 1, 1), (16, 32, 64)
PREPROCESS = Preprocess(**get_model("resnet20").preprocess)


@dataclass(frozen=True)
class Study:
    """What is compared. views: fixed augmentations of an image. precision: of teachers and students."""

    teachers: dict[str, nn.Module]
    train: Dataset
    test: Dataset
    out: Path
    epochs: int = 10
    seeds: int = 3
    views: int = 5
    precision: str = "bfloat16"

    def runs(self) -> list[tuple[str, int]]:
        return [(name, seed) for name in self.teachers for seed in range(self.seeds)]

    def half(self, odd: bool) -> Dataset:
        return subset(self.test, np.arange(int(odd), len(self.test), 2))

    def settings(self) -> dict[str, Any]:
        """What all results must share."""
        return {
            "teachers": list(self.teachers),
            "epochs": self.epochs,
            "seeds": self.seeds,
            "views": self.views,
            "precision": self.precision,
            "student": {"depths": DEPTHS, "widths": WIDTHS},
            "recipe": RECIPE,
            "images": [len(self.train), len(self.test)],
        }


def student(seed: int, classes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AdaBinCifarResNet(DEPTHS, WIDTHS, pad_shortcut, classes, "published")


def recipe_of(study: Study, name: str, seed: int) -> Recipe:
    """The shipped recipe, shortened, with the teacher's soft labels alone for a loss."""
    recipe = read_recipe(RECIPE, epochs=study.epochs)
    return replace(
        recipe,
        seed=seed,
        batch=min(recipe.batch, len(study.train)),
        precision=study.precision,
        loss=Loss(kind="soft"),
        teacher=(Teacher(name, "given as an object"),),
    )


def teach(study: Study, name: str, seed: int) -> dict[str, Any]:
    """Train one student, from where it stands, and measure it on the odd test images and on all."""
    recipe = recipe_of(study, name, seed)
    augment = make_augment(recipe.augment, PREPROCESS)
    teachers = CachedTeachers(
        Teachers([study.teachers[name]], precision=study.precision),
        study.out / "teachers",
        study.train,
        FixedViews(len(study.train), study.views, seed=0),
        repr((recipe.augment, PREPROCESS)),
    )
    model = student(seed, study.train.num_classes)
    row = fit(model, recipe, study.train, augment, teachers=teachers, output=Output(folder(study, name, seed)))
    measured = {"odd": measure(model, study.half(odd=True), PREPROCESS), "all": measure(model, study.test, PREPROCESS)}
    return {"teacher": name, "seed": seed, "test": measured, "last_epoch": row}


def folder(study: Study, name: str, seed: int) -> Path:
    return study.out / f"{name}-{seed}"


def run_share(study: Study, share: int, of: int) -> None:
    """Every run of this share that is not finished. A share has whole teachers, so that no output is made twice."""
    runs = [
        (folder(study, name, seed), f"{name} teaches the student of seed {seed}", partial(teach, study, name, seed))
        for i, (name, seed) in enumerate(study.runs())
        if i // study.seeds % of == share - 1
    ]
    run_missing(runs, study.settings())


def outcome(study: Study) -> dict[str, Any] | None:
    """Teachers by their score, what their students reached, and how often both agree. None while runs are missing."""
    runs = [result_of(folder(study, name, seed), study.settings()) for name, seed in study.runs()]
    if any(run is None for run in runs):
        return None
    rows = []
    for score in knowledge_complexity(study.teachers, study.half(odd=False), PREPROCESS):
        own = [run["test"] for run in runs if run is not None and run["teacher"] == score.name]
        row = {key: getattr(score, key) for key in ("name", "complexity", "cross_entropy", "top1", "parameters")}
        for half in ("odd", "all"):
            for key in ("top1", "cross_entropy"):
                row[f"students_{half}_{key}"] = spread([run[half][key] for run in own])
        rows.append(row)
    scores = {
        "knowledge complexity": ("complexity", 1),
        "fewest parameters": ("parameters", 1),
        "least cross entropy": ("cross_entropy", 1),
        "highest accuracy": ("top1", -1),
    }
    return {
        **study.settings(),
        "machine": cpu_name(),
        "rows": rows,
        "pairs": len(rows) * (len(rows) - 1) // 2,
        "agreement": {name: agreement(rows, *score) for name, score in scores.items()},
        "runs": [{key: value for key, value in run.items() if key != "study"} for run in runs if run is not None],
    }


def agreement(rows: list[dict[str, Any]], key: str, sign: int) -> int:
    """How many pairs of teachers the score `key` orders as the mean accuracy of their students does. sign: 1 where a
    small score is the better one, else -1."""
    return sum(
        (sign * (a[key] - b[key]) < 0) == (a["students_odd_top1"]["mean"] > b["students_odd_top1"]["mean"])
        for a, b in combinations(rows, 2)
        if a[key] != b[key] and a["students_odd_top1"]["mean"] != b["students_odd_top1"]["mean"]
    )


def page(found: dict[str, Any]) -> str:
    """The outcome as a page."""
    pm = "{mean:.2f} ± {deviation:.2f}".format_map
    head = ["teacher", "parameters", "held-out cross entropy", "its accuracy", "knowledge complexity"]
    head += ["students, odd images", "students, all images", "students' cross entropy, all"]
    lines = [head]
    for row in found["rows"]:
        own = [row["name"], f"{row['parameters']:,}", f"{row['cross_entropy']:.3f}", f"{row['top1']:.1f} %"]
        own += [f"{row['complexity']:.4f}", pm(row["students_odd_top1"]), pm(row["students_all_top1"])]
        lines.append([*own, pm(row["students_all_cross_entropy"])])
    reached = [row["students_odd_top1"] for row in found["rows"]]
    apart = max(r["mean"] for r in reached) - min(r["mean"] for r in reached)
    images = found["images"][1] // 2
    middle = statistics.fmean(r["mean"] for r in reached) / 100
    error = 100 * (middle * (1 - middle) / images) ** 0.5
    agreed = ", ".join(f"{name} {count}" for name, count in found["agreement"].items())
    seeds = statistics.fmean(r["deviation"] for r in reached)
    noise = max(seeds, error)
    verdict = "within that noise: it does not say which teacher is better" if apart < 2 * noise else "above that noise"
    return f"""# Knowledge complexity

Written by `benchmarks/knowledge_complexity.py`, never by hand; that file says how.

Each of {len(found["rows"])} teachers has {found["seeds"]} students: {found["epochs"]} epochs of
{found["images"][0]:,} images, {found["views"]} fixed augmentations each, on {found["machine"]}.
Lowest complexity first; the score and the teachers' own figures are from the even test images. Students: mean and
sample deviation over the seeds; accuracies in per cent, cross entropies in nats.

{table(lines)}

On the odd images, the best and the worst teacher's students are {apart:.2f} points apart; seeds deviate by
{seeds:.2f} points on average, and the standard error of one accuracy on these {images} images is {error:.2f}.
The difference is {verdict}.
Of {found["pairs"]} pairs of teachers, so many are ordered as their students came out: {agreed}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, threads=1)
    parser.add_argument("--models", type=Path, required=True, help="folder of resnet20-*.th and so on")
    parser.add_argument("--teachers", default=",".join(NAMES))
    parser.add_argument("--views", type=int, default=5)
    parser.add_argument("--images", type=int, default=0, help="only the first so many training images, for a try")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    try:
        train, test = (open_dataset(given.data, split) for split in ("train", "test"))
        train = subset(train, first_images(train, given.images))
        teachers = {name: published(name, given.models) for name in given.teachers.split(",")}
        study = Study(teachers, train, test, given.out, given.epochs, given.seeds, given.views, given.precision)
        run_share(study, *share_of(given.share))
        conclude(outcome(study), page, given.out, given.page)
    except Error as error:
        sys.exit(f"error: {error}")


def published(name: str, models: Path) -> nn.Module:
    """The teacher with its published weights, in eval mode."""
    paths = sorted(models.glob(f"{name}-*.th"))
    if len(paths) != 1:
        raise Error(f"{models} holds {len(paths)} files {name}-*.th, and one is needed: give --models their folder")
    return load_weights(create_model(name), paths[0]).eval()


if __name__ == "__main__":
    main()
