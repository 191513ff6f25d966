"""`netsuke eval`: accuracy of a file in the engine, or of a checkpoint in PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import track

from netsuke import artifact
from netsuke.artifact.contract import Error
from netsuke.cli.checkpoint import load
from netsuke.cli.output import JsonOption, emit, show, stderr_console
from netsuke.data import Dataset, Sizing, normalise, open_dataset


class Backend(StrEnum):
    engine = "engine"
    reference = "reference"


def evaluate(
    file: Annotated[Path, typer.Argument(help="A .netsuke file, or a PyTorch checkpoint with --model.")],
    data: Annotated[str, typer.Option(help="Data set: cifar10:PATH, mnist:PATH, imagefolder:PATH, digits, ...")],
    model: Annotated[str | None, typer.Option(help="The model that the checkpoint belongs to.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads to run with.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Images in a batch.")] = 64,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only this many images, evenly spaced.")] = None,
    isa: Annotated[str | None, typer.Option(help="Force an instruction set, as in scalar, avx2.")] = None,
    backend: Annotated[Backend, typer.Option(help="What runs a .netsuke file.")] = Backend.engine,
    json: JsonOption = False,
) -> None:
    """Measure the accuracy of a .netsuke file, or of a PyTorch checkpoint with --model, on labelled images."""
    if model is None:
        network = _from_file(file, threads, isa, backend)
    else:
        if isa is not None or backend != Backend.engine:
            raise Error("--isa and --backend are for .netsuke files; with --model PyTorch runs the checkpoint")
        network = _from_checkpoint(file, model, threads)
    dataset = open_dataset(data, sizing=network.sizing, channels=network.input_shape[0])
    started = time.perf_counter()
    score = accuracy(network, dataset, batch, limit)
    result = {
        "file": str(file),
        "data": data,
        **score,
        **network.facts,
        "threads": threads,
        "seconds": time.perf_counter() - started,
    }
    if json:
        emit(result)
        return
    how = ", ".join(str(value) for value in network.facts.values() if value)
    show(
        f"top-1 {score['top1']:.2f} %, top-5 {score['top5']:.2f} % on {score['n']:,} images of {dataset.name} "
        f"({how}, {threads} thread{'s' if threads > 1 else ''}, {result['seconds']:.1f} s)"
    )


@dataclass
class Classifier:
    """run takes uint8 (N, C, H, W) and returns logits, float32 (N, classes). facts go into the result."""

    run: Callable[[np.ndarray], np.ndarray]
    input_shape: tuple[int, int, int]
    sizing: Sizing
    facts: dict[str, Any]


def accuracy(network: Classifier, dataset: Dataset, batch: int = 64, limit: int | None = None) -> dict[str, Any]:
    """n, top1 and top5 in per cent. Equal logits rank in the order of their classes.

    Raises Error if the images or the number of classes do not fit the network.
    """
    count = len(dataset) if limit is None else min(limit, len(dataset))
    first = fifth = 0
    steps = track(
        dataset.batches(batch, limit),
        description="evaluating",
        total=-(-count // batch),
        console=stderr_console(),
        transient=True,
    )
    for images, labels in steps:
        if images.shape[1:] != tuple(network.input_shape):
            raise Error(
                f"the network takes {_by(network.input_shape)} images, {dataset.name} has {_by(images.shape[1:])}\n"
                "use the data set it was trained for"
            )
        logits = network.run(images)
        if logits.shape != (len(images), dataset.num_classes):
            raise Error(
                f"the network gives {_by(logits.shape[1:])} scores an image, {dataset.name} has {dataset.num_classes} "
                "classes\nuse the data set it was trained for"
            )
        ranked = np.argsort(-logits, axis=1, kind="stable")[:, :5] == labels[:, None]
        first += int(ranked[:, 0].sum())
        fifth += int(ranked.any(axis=1).sum())
    return {"n": count, "top1": 100 * first / count, "top5": 100 * fifth / count}


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _from_file(file: Path, threads: int, isa: str | None, backend: Backend) -> Classifier:
    graph = artifact.read(file)
    if graph.transform is None:
        raise Error(f"{file} does not say how images become its input: export it with preprocess=Preprocess(...)")
    if len(graph.outputs) != 1 or graph.outputs[0].rank != 2:
        raise Error(f"{file} is not a classifier: eval needs one output of (N, classes)")
    facts: dict[str, Any] = {"model": graph.model, "backend": backend.value, "isa": None}
    if backend == Backend.reference:
        if isa is not None:
            raise Error("--isa is for the engine; the reference is plain numpy")
        reference = artifact.Reference(graph)
        return Classifier(lambda x: np.asarray(reference(x)), graph.input_shape, graph.transform, facts)
    from netsuke.engine import load as load_engine

    engine = load_engine(file, threads=threads, isa=isa)
    return Classifier(lambda x: np.asarray(engine(x)), graph.input_shape, graph.transform, facts | {"isa": engine.isa})


def _from_checkpoint(file: Path, model: str, threads: int) -> Classifier:
    network = load(model, file)
    import torch

    torch.set_num_threads(threads)

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network.module(torch.from_numpy(normalise(images, network.preprocess))).numpy()

    facts = {"model": model, "backend": "torch", "isa": None}
    return Classifier(run, network.entry.input, network.preprocess, facts)
