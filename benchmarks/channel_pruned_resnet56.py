"""What ResNet-56 loses, and gains in speed, when blocks and channels are taken out of it, on CIFAR-10.

The published float ResNet-56 loses `blocks` of its residual blocks (netsuke.prune_blocks), then channels to a share
of the multiply-accumulates that are left (netsuke.prune_channels), and is trained further on all training images,
which its weights have seen before, by a schedule that is fixed here. Nothing is chosen by an outcome: the test images
are looked at once, when the run is over.

    python -m benchmarks.channel_pruned_resnet56 --data cifar10:../shared/data/cifar-10-batches-bin \
        --weights ../shared/models/resnet_cifar10/resnet56-4bfd9763.th --out runs/pruned56 [--threads 1]
    ... the same with --race, on a quiet machine: latency of the pruned and of the whole network, side by side

It may be killed at any time: started again it goes on where it was. OUT holds pruned.netsuke and float.netsuke (the
network as published), blocks.json and channels.json (for netsuke.drop_blocks and
netsuke.shrink), model.safetensors, report.txt and result.json; --race adds
latency.json. result.json counts test images by whether the published and the pruned network get them right: pairs.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from benchmarks.study import result_of, run_missing
from torch import Tensor, nn

import netsuke
from netsuke import Error, Preprocess, atomic
from netsuke.analyze import cost
from netsuke.cli.bench import ratios, summary
from netsuke.cli.counterpart import fold_batch_norm, write_onnx
from netsuke.cli.machine import cores_for, cpu_name
from netsuke.cli.race import Racer, race
from netsuke.data import Dataset, normalise, open_dataset
from netsuke.models import create_model, get_model, load_weights
from netsuke.train import Output, Recipe, Teachers, fit, make_augment, make_fabric
from netsuke.train.recipe import Augmentation, Loss, Model, Optimizer, Schedule, Teacher

BLOCK_IMAGES = 256  # of the training images, evenly spaced, which blocks are chosen on
CALIBRATION_IMAGES = 1024  # of the training images, evenly spaced: batch norm's statistics start from them
FILES = {"netsuke": "pruned.netsuke", "netsuke_float": "float.netsuke"}
ONNX = {"onnxruntime_pruned": "pruned.onnx", "onnxruntime_float": "float.onnx"}


@dataclass(frozen=True)
class Plan:
    """spec: of the data. weights: the published checkpoint of `model`. blocks: how many go. macs: as for
    netsuke.prune_channels. teacher: whether the published network teaches, beside the labels."""

    spec: str
    weights: str
    out: Path
    model: str = "resnet56"
    blocks: int = 14
    macs: float = 0.75
    importance: str = "l2"
    multiple_of: int = 8
    epochs: int = 10
    batch: int = 128
    learning_rate: float = 0.05
    precision: str = "bfloat16"
    teacher: bool = True

    def settings(self) -> dict[str, Any]:
        """What a result depends on, but the data and the machine."""
        return {k: v for k, v in asdict(self).items() if k not in ("spec", "weights", "out")}

    def recipe(self) -> Recipe:
        """Half a cosine from a rate at half of what the network was first trained with, after a short warmup."""
        loss = Loss(kind="soft", label_weight=0.5, temperature=4.0) if self.teacher else Loss()
        return Recipe(
            model=Model(self.model, self.weights),
            epochs=self.epochs,
            batch=self.batch,
            precision=self.precision,  # type: ignore[arg-type]
            optimizer=Optimizer("sgd", self.learning_rate, weight_decay=1e-4),
            schedule=Schedule("cosine", warmup=0.025),
            augment=Augmentation(crop_padding=4, flip=True),
            loss=loss,
            teacher=(Teacher(self.model, self.weights),) if self.teacher else (),
        )

    @cached_property
    def preprocess(self) -> Preprocess:
        return Preprocess(**get_model(self.model).preprocess)

    def data(self, split: str) -> Dataset:
        return open_dataset(self.spec, split, self.preprocess)

    def published(self) -> nn.Module:
        return load_weights(create_model(self.model), self.weights).eval()


def example(plan: Plan) -> Tensor:
    return torch.zeros(2, *get_model(plan.model).input)


def shortened(plan: Plan, data: Dataset) -> nn.Module:
    """The published network without the blocks that it misses least; blocks.json remembers them."""
    path = plan.out / "blocks.json"
    if path.exists():
        return netsuke.drop_blocks(plan.published(), json.loads(path.read_text()))
    images = np.concatenate([images for images, _ in data.batches(64, BLOCK_IMAGES)])
    images = normalise(images, plan.preprocess)
    made: Any = netsuke.prune_blocks(plan.published(), torch.from_numpy(images), plan.blocks, "layer*.?")
    atomic.write(path, json.dumps(made.netsuke_dropped).encode())
    return made


def prune(plan: Plan, data: Dataset) -> nn.Module:
    """The same at every start."""
    parts = list(data.batches(64, CALIBRATION_IMAGES))
    images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return netsuke.prune_channels(
        shortened(plan, data),
        example(plan)[:1],
        macs=plan.macs,
        importance=plan.importance,
        multiple_of=plan.multiple_of,
        calibration=(torch.from_numpy(normalise(images, plan.preprocess)), torch.from_numpy(labels)),
        reset_batch_norm=True,
    )


def train(plan: Plan) -> dict[str, Any]:
    """Prune, train further from where it stands, write the files, and measure."""
    data = plan.data("train")
    pruned: Any = prune(plan, data)
    report = pruned.netsuke_report
    atomic.write(plan.out / "report.txt", f"{report}\n".encode())
    atomic.write(plan.out / "channels.json", json.dumps(report.channels).encode())
    recipe = plan.recipe()
    teachers = Teachers([plan.published()]) if plan.teacher else None
    row = fit(
        pruned, recipe, data, make_augment(recipe.augment, plan.preprocess), teachers=teachers,
        output=Output(plan.out), fabric=make_fabric("cpu", plan.precision),
        report=lambda row: print(f"epoch {row['epoch']}: loss {row['loss']:.4f}", file=sys.stderr, flush=True),
    )  # fmt: skip
    weights = {name: value.contiguous() for name, value in pruned.state_dict().items()}
    atomic.write(plan.out / "model.safetensors", safetensors.torch.save(weights))
    for module, name in ((pruned, "netsuke"), (plan.published(), "netsuke_float")):
        netsuke.export(module, example(plan), plan.out / FILES[name], plan.preprocess, plan.model)
    test = plan.data("test")
    right = [answers(plan.out / FILES[name], test) for name in ("netsuke_float", "netsuke")]
    macs = cost(plan.published(), example(plan)[:1]).flops, report.macs[1]
    return {"macs": macs, "last_epoch": row, "test": paired(*right)}


def answers(file: Path, data: Dataset) -> np.ndarray:
    """Which images the engine gets right, (N,) bool."""
    engine = netsuke.load(file)
    return np.concatenate([engine(images).argmax(1) == labels for images, labels in data.batches(250)])


def paired(published: np.ndarray, pruned: np.ndarray) -> dict[str, Any]:
    """Top-1 in per cent of both, and how many images both, one or none get right."""
    return {
        "n": len(published),
        "published_top1": round(100 * float(published.mean()), 3),
        "pruned_top1": round(100 * float(pruned.mean()), 3),
        "pairs": {
            "right_right": int((published & pruned).sum()),
            "right_wrong": int((published & ~pruned).sum()),
            "wrong_right": int((~published & pruned).sum()),
            "wrong_wrong": int((~published & ~pruned).sum()),
        },
    }


def latency(plan: Plan, threads: int, batch: int, runs: int | None, seconds: float) -> dict[str, Any]:
    """Race both networks in both engines, taking turns, as `netsuke bench` does; keys are those of it.

    speedup: median of the whole network over that of the pruned one, by engine.
    """
    if not (plan.out / "model.safetensors").exists():
        raise Error(f"{plan.out} holds no trained network: run without --race first")
    blocks, channels = (json.loads((plan.out / name).read_text()) for name in ("blocks.json", "channels.json"))
    pruned = netsuke.shrink(netsuke.drop_blocks(create_model(plan.model), blocks), channels)
    load_weights(pruned, plan.out / "model.safetensors").eval()
    shape = get_model(plan.model).input
    for module, name in ((pruned, "onnxruntime_pruned"), (plan.published(), "onnxruntime_float")):
        write_onnx(fold_batch_norm(module), (batch, *shape), plan.out / ONNX[name])
    request: dict[str, Any] = {
        "cores": cores_for(threads), "threads": threads, "batch": batch, "input": list(shape), "isa": None,
    }  # fmt: skip
    own = {name: {"candidate": "netsuke", "file": str(plan.out / file)} for name, file in FILES.items()}
    own |= {name: {"candidate": "onnxruntime_f32", "onnx": str(plan.out / file)} for name, file in ONNX.items()}
    with ExitStack() as stack:
        racers = [stack.enter_context(Racer(name, request | of)) for name, of in own.items()]
        taken = race(racers, runs, seconds)
        facts = {racer.name: racer.facts for racer in racers}
    medians = {name: float(np.median(times)) for name, times in taken.items()}
    return {
        "machine": cpu_name(),
        "cores": request["cores"],
        "threads": threads,
        "batch": batch,
        "candidates": {name: summary(facts[name], times) for name, times in taken.items()},
        "ratio": ratios(taken),
        "speedup": {
            "netsuke": medians["netsuke_float"] / medians["netsuke"],
            "onnxruntime": medians["onnxruntime_float"] / medians["onnxruntime_pruned"],
        },
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", required=True, help="SPEC, as in cifar10:PATH")
    options.add_argument("--weights", required=True, help="the published checkpoint")
    options.add_argument("--out", type=Path, required=True, help="folder of checkpoints, files and results")
    options.add_argument("--blocks", type=int, default=Plan.blocks)
    options.add_argument("--macs", type=float, default=Plan.macs)
    options.add_argument("--importance", default=Plan.importance)
    options.add_argument("--multiple-of", type=int, default=Plan.multiple_of)
    options.add_argument("--epochs", type=int, default=Plan.epochs)
    options.add_argument("--batch", type=int, default=Plan.batch, help="of training")
    options.add_argument("--learning-rate", type=float, default=Plan.learning_rate)
    options.add_argument("--precision", default=Plan.precision)
    options.add_argument("--no-teacher", action="store_true", help="the labels alone teach, not the published network")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--race", action="store_true", help="time what was trained")
    options.add_argument("--race-batch", type=int, default=1)
    options.add_argument("--runs", type=int, help="timed runs of each, instead of --seconds")
    options.add_argument("--seconds", type=float, default=3.0, help="timed seconds of each")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    plan = Plan(
        given.data, given.weights, given.out, blocks=given.blocks, macs=given.macs, importance=given.importance,
        multiple_of=given.multiple_of, epochs=given.epochs, batch=given.batch, learning_rate=given.learning_rate,
        precision=given.precision, teacher=not given.no_teacher,
    )  # fmt: skip
    try:
        if given.race:
            found = latency(plan, given.threads, given.race_batch, given.runs, given.seconds)
            atomic.write(plan.out / "latency.json", (json.dumps(found, indent=1) + "\n").encode())
        else:
            run_missing([(plan.out, "prune and train", lambda: train(plan))], plan.settings())
            found = result_of(plan.out, plan.settings()) or {}
        print(json.dumps(found, indent=1))
    except Error as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
