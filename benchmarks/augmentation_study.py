"""Which augmentation helps a binary network, and which does not? Each trains a binary network and its float twin.

As BNext trains (Guo et al. 2022): from scratch, by the soft labels of a float teacher alone, which sees the same
augmented image as the student; so images may be mixed without a word on their labels. The student is a one-bit ResNet-8
(AdaBin's layers, one block a stage), or a model of the registry with its float counterpart. All strategies have the
same schedule, seeds and order of images; differences are taken from the run of the same seed with random crop and flip.
Everything is fixed beforehand; nothing is chosen by an outcome.

    python -m benchmarks.augmentation_study --weights ../shared/models/resnet_cifar10/resnet20-12fca82f.th \
        --data cifar10:../shared/data/cifar-10-batches-bin --out build/augmentation [--share 1/2] [--page FILE]

It may be killed at any time: started again it goes on where it was. --share 1/2 and --share 2/2 are two processes that
halve the runs between them, one core each; once all runs are there, either prints the outcome, as does another start.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

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
from torch import Tensor, nn

from netsuke import Error, Preprocess
from netsuke.cli.machine import cpu_name
from netsuke.cli.profile import read_arguments
from netsuke.data import Dataset, open_dataset, subset
from netsuke.models import create_model, get_model, load_weights
from netsuke.models.adabin_resnet import AdaBinCifarResNet
from netsuke.models.resnet import CifarResNet, pad_shortcut
from netsuke.train import Augment, Output, Recipe, Teachers, fit, read_recipe
from netsuke.train.randaugment import RandAugment
from netsuke.train.recipe import Augmentation, Loss, Teacher

RECIPE = "adabin-cifar10-resnet20"
DEPTHS, WIDTHS = (1, 1, 1), (16, 32, 64)
KINDS = ("binary", "float")
STANDARD = "standard"


@dataclass(frozen=True)
class Strategy:
    """crop, flip, lighting: as of `netsuke.train.Augment`. rand_augment: in timm's notation, empty for none.

    erasing: the chance that a rectangle of 2 to 33 % of the image is the mean colour (Zhong et al. 2020). mix: "mixup"
    (Zhang et al. 2018) or "cutmix" (Yun et al. 2019) with another image of the batch, Beta(1, 1); empty for none.
    """

    what: str
    crop: int = 4
    flip: bool = True
    lighting: float = 0.0
    rand_augment: str = ""
    erasing: float = 0.0
    mix: str = ""


STRATEGIES = {
    "none": Strategy("the images as they are", crop=0, flip=False),
    "flip": Strategy("mirrored by half", crop=0),
    "crop": Strategy("moved by up to 4 pixels", flip=False),
    STANDARD: Strategy("both, which those below have too"),
    "lighting": Strategy("PCA lighting, deviation 0.1", lighting=0.1),
    "randaugment3": Strategy("RandAugment, magnitude 3", rand_augment="rand-m3-mstd0.5-inc1"),
    "randaugment7": Strategy("RandAugment, magnitude 7, BNext's own", rand_augment="rand-m7-mstd0.5-inc1"),
    "erasing": Strategy("random erasing, half of the images", erasing=0.5),
    "mixup": Strategy("mixup", mix="mixup"),
    "cutmix": Strategy("CutMix", mix="cutmix"),
}

# Columns of a draw behind those of Augment.
WHETHER, AREA, ASPECT, TOP, LEFT, ORDER = range(6)
EXTRA = 6


class StudyAugment(Augment):
    """`Augment` by a strategy, with what only this study needs: erasing and mixing, after the normalisation."""

    def __init__(self, preprocess: Preprocess, strategy: Strategy) -> None:
        rand_augment = RandAugment.parse(strategy.rand_augment) if strategy.rand_augment else None
        super().__init__(preprocess, strategy.crop, strategy.flip, rand_augment, strategy.lighting, channels_last=True)
        self.strategy = strategy

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        draws = super().draw(count, generator)
        return torch.cat([draws, torch.rand((count, EXTRA), generator=generator, dtype=torch.float64)], 1)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        x, more = super().apply(images, draws[:, :-EXTRA]), draws[:, -EXTRA:]
        if self.strategy.erasing:
            x = erase(x, more, self.strategy.erasing)
        if self.strategy.mix:
            x = (mixup if self.strategy.mix == "mixup" else cutmix)(x, more)
        return x


def erase(images: Tensor, draws: Tensor, chance: float) -> Tensor:
    """0, the mean colour of normalised images, in a rectangle of 2 to 33 % of the area, of aspect 0.3 to 3.3."""
    area = 0.02 + (1 / 3 - 0.02) * draws[:, AREA]
    aspect = torch.exp(math.log(0.3) + (math.log(1 / 0.3) - math.log(0.3)) * draws[:, ASPECT])
    inside = rectangle(images, (area * aspect).sqrt(), (area / aspect).sqrt(), draws)
    chosen = (draws[:, WHETHER] < chance).view(-1, 1, 1, 1).to(images.device)
    return images.masked_fill(inside & chosen, 0)


def mixup(images: Tensor, draws: Tensor) -> Tensor:
    """share * x + (1 - share) * another x of the batch."""
    share = draws[:, AREA].to(images).view(-1, 1, 1, 1)
    return share * images + (1 - share) * images[draws[:, ORDER].argsort()]


def cutmix(images: Tensor, draws: Tensor) -> Tensor:
    """A rectangle of another x of the batch in each x, of the image's own aspect."""
    side = (1 - draws[:, AREA]).sqrt()
    return torch.where(rectangle(images, side, side, draws), images[draws[:, ORDER].argsort()], images)


def rectangle(images: Tensor, tall: Tensor, wide: Tensor, draws: Tensor) -> Tensor:
    """Whether a pixel is in its image's rectangle: bool (N, 1, H, W). tall, wide: shares (N,) of the sides."""
    masks = []
    for size, share, place in ((images.shape[2], tall, draws[:, TOP]), (images.shape[3], wide, draws[:, LEFT])):
        length = (share.clamp(max=1) * size).round()
        first = (place * (size - length + 1)).floor()[:, None]
        at = torch.arange(size, dtype=draws.dtype)
        masks.append((at >= first) & (at < first + length[:, None]))
    return (masks[0][:, None, :, None] & masks[1][:, None, None, :]).to(images.device)


@dataclass(frozen=True)
class Study:
    """model: of the registry, with its arguments; empty for the ResNet-8. recipe: of optimizer and schedule."""

    teacher: nn.Module
    teacher_name: str
    preprocess: Preprocess
    train: Dataset
    test: Dataset
    out: Path
    model: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    recipe: str = RECIPE
    strategies: tuple[str, ...] = tuple(STRATEGIES)
    epochs: int = 10
    seeds: int = 3
    precision: str = "bfloat16"

    def __post_init__(self) -> None:
        unknown = [name for name in self.strategies if name not in STRATEGIES]
        if unknown or STANDARD not in self.strategies:
            raise Error(f"strategies are {', '.join(STRATEGIES)}, and {STANDARD} is always one: not {self.strategies}")

    def runs(self) -> list[tuple[str, str, int]]:
        return [(name, kind, seed) for name in self.strategies for kind in KINDS for seed in range(self.seeds)]

    def settings(self) -> dict[str, Any]:
        """What all results must share. Strategies and seeds may be added to a study."""
        return {
            "teacher": self.teacher_name,
            "model": self.model or {"depths": DEPTHS, "widths": WIDTHS},
            "arguments": self.arguments,
            "recipe": self.recipe,
            "epochs": self.epochs,
            "precision": self.precision,
            "images": [len(self.train), len(self.test)],
        }

    def folder(self, name: str, kind: str, seed: int) -> Path:
        return self.out / f"{name}-{kind}-{seed}"


def student(study: Study, kind: str, seed: int) -> nn.Module:
    """The binary network or its float twin, with random weights of `seed`."""
    classes = study.train.num_classes
    if study.model:
        name = study.model if kind == "binary" else get_model(study.model).float_counterpart
        return create_model(name, classes, seed, **study.arguments)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "binary":
            return AdaBinCifarResNet(DEPTHS, WIDTHS, pad_shortcut, classes, "published")
        return CifarResNet(DEPTHS, WIDTHS, pad_shortcut, classes)


def recipe_of(study: Study, seed: int) -> Recipe:
    """The recipe, shortened, with the teacher's soft labels alone for a loss; augmentation is given as an object."""
    recipe = read_recipe(study.recipe, epochs=study.epochs)
    return replace(
        recipe,
        seed=seed,
        batch=min(recipe.batch, len(study.train)),
        precision=study.precision,
        validation=0,
        augment=Augmentation(),
        loss=Loss(kind="soft"),
        teacher=(Teacher(study.teacher_name, "given as an object"),),
    )


def train(study: Study, name: str, kind: str, seed: int) -> dict[str, Any]:
    """Train one student, from where it stands, and measure it on the test images."""
    model, output = student(study, kind, seed), Output(study.folder(name, kind, seed))
    teachers = Teachers([study.teacher], precision=study.precision)
    augment = StudyAugment(study.preprocess, STRATEGIES[name])
    row = fit(model, recipe_of(study, seed), study.train, augment, teachers=teachers, output=output)
    test = measure(model, study.test, study.preprocess)
    return {"strategy": asdict(STRATEGIES[name]), "kind": kind, "seed": seed, "test": test, "last_epoch": row}


def run_share(study: Study, share: int, of: int) -> None:
    """Every run of this share that is not finished."""
    mine = study.runs()[share - 1 :: of]
    said = "{}: the {} network of seed {}".format
    run_missing([(study.folder(*run), said(*run), partial(train, study, *run)) for run in mine], study.settings())


def outcome(study: Study) -> dict[str, Any] | None:
    """What both networks reached by each strategy, and how far from the standard. None while runs are missing."""
    found = {run: result_of(study.folder(*run), study.settings()) for run in study.runs()}
    if any(result is None for result in found.values()):
        return None
    top1 = {run: result["test"]["top1"] for run, result in found.items() if result is not None}
    rows = []
    for name in study.strategies:
        row: dict[str, Any] = {"name": name, "what": STRATEGIES[name].what}
        for kind in KINDS:
            reached = [top1[name, kind, seed] for seed in range(study.seeds)]
            gains = [top1[name, kind, seed] - top1[STANDARD, kind, seed] for seed in range(study.seeds)]
            row[kind] = {
                "top1": spread(reached),
                "gain": spread(gains),
                "better": sum(gain > 0 for gain in gains),
                "worse": sum(gain < 0 for gain in gains),
            }
        rows.append(row)
    results = [{k: v for k, v in result.items() if k != "study"} for result in found.values() if result is not None]
    return {**study.settings(), "seeds": study.seeds, "machine": cpu_name(), "rows": rows, "runs": results}


def page(found: dict[str, Any]) -> str:
    """The outcome as a page."""
    lines = [["strategy", "what", "binary", "against the standard", "seeds", "float", "against the standard", "seeds"]]
    for row in found["rows"]:
        line = [row["name"], row["what"]]
        for kind in KINDS:
            own = row[kind]
            line.append("{mean:.2f} ± {deviation:.2f}".format_map(own["top1"]))
            if row["name"] == STANDARD:
                line += ["", ""]
            else:
                line.append("{mean:+.2f} ± {deviation:.2f}".format_map(own["gain"]))
                line.append(f"{own['better']} better, {own['worse']} worse")
        lines.append(line)
    said = [f"{kind} network: {verdict(found, kind)}" for kind in KINDS]
    middle = sum(row["binary"]["top1"]["mean"] for row in found["rows"]) / len(found["rows"]) / 100
    error = 100 * (middle * (1 - middle) / found["images"][1]) ** 0.5
    model = "ResNet-8 (one block a stage, AdaBin's layers)"
    if isinstance(found["model"], str):
        model = f"{found['model']} ({', '.join(f'{k} {v}' for k, v in found['arguments'].items()) or 'as it is'})"
    return f"""# Augmentation

Written by `benchmarks/augmentation_study.py`, never by hand; that file says how.

{model} and its float twin, {found["epochs"]} epochs of
{found["images"][0]:,} images, {found["seeds"]} seeds, by the soft labels of {found["teacher"]} alone, on
{found["machine"]}. Top-1 in per cent on {found["images"][1]:,} test images, mean and sample deviation over the seeds;
differences are between runs of the same seed.

{table(lines)}

Better or worse than the standard with every seed: {"; ".join(said)}. The standard error of one accuracy on these
{found["images"][1]:,} images is {error:.2f} points; the same images are used throughout, so differences have less. A
short schedule does not say what a long one would.
"""


def verdict(found: dict[str, Any], kind: str) -> str:
    """Which strategies were better, and which worse, with every seed."""
    others = [row for row in found["rows"] if row["name"] != STANDARD]
    words = []
    for what in ("better", "worse"):
        names = [row["name"] for row in others if row[kind][what] == found["seeds"]]
        words.append(f"{what} {', '.join(names) or 'none'}")
    return ", ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, threads=1)
    parser.add_argument("--teacher", default="resnet20", help="float model of the registry that teaches")
    parser.add_argument("--weights", type=Path, required=True, help="its checkpoint")
    parser.add_argument("--model", default="", help="binary model of the registry, instead of the ResNet-8")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="its arguments: width=0.25")
    parser.add_argument("--recipe", default=RECIPE, help="whose optimizer and schedule are used")
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--images", type=int, default=0, help="only the first so many training images, for a try")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    try:
        images, test = (open_dataset(given.data, split) for split in ("train", "test"))
        study = Study(
            load_weights(create_model(given.teacher, images.num_classes), given.weights).eval(),
            given.teacher,
            Preprocess(**get_model(given.teacher).preprocess),
            subset(images, first_images(images, given.images)),
            test,
            given.out,
            given.model,
            read_arguments(given.set),
            given.recipe,
            tuple(given.strategies.split(",")),
            given.epochs,
            given.seeds,
            given.precision,
        )
        run_share(study, *share_of(given.share))
        conclude(outcome(study), page, given.out, given.page)
    except Error as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
