"""`netsuke eval`: accuracy, or mean average precision, of a file in the engine or a checkpoint in PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from netsuke import artifact
from netsuke.artifact.contract import Error
from netsuke.artifact.graph import Graph
from netsuke.cli.checkpoint import load
from netsuke.cli.detector import Detector, labels_of
from netsuke.cli.detector import score as detection_score
from netsuke.cli.options import choice, count
from netsuke.cli.output import JsonOption, emit, show, table, watched
from netsuke.data import Dataset, ImageFolder, Sizing, Source, normalise, open_dataset, open_detection

BACKENDS = ("engine", "reference")


def evaluate(
    file: Annotated[Path, typer.Argument(help="A .netsuke file, or a PyTorch checkpoint with --model.")],
    data: Annotated[str, typer.Option(help="Data set: cifar10:PATH, imagefolder:PATH, voc:PATH, digits, ...")],
    model: Annotated[str | None, typer.Option(help="The model that the checkpoint belongs to.")] = None,
    threads: Annotated[int, typer.Option(parser=count("--threads"), metavar="N", help="Threads to run with.")] = 1,
    batch: Annotated[int, typer.Option(parser=count("--batch"), metavar="N", help="Images in a batch.")] = 64,
    limit: Annotated[
        int | None,
        typer.Option(parser=count("--limit"), metavar="N", help="Use only this many images, evenly spaced."),
    ] = None,
    isa: Annotated[str | None, typer.Option(help="Force an instruction set, as in scalar, avx2.")] = None,
    backend: Annotated[
        str,
        typer.Option(parser=choice("--backend", *BACKENDS), metavar="|".join(BACKENDS), help="What runs the file."),
    ] = BACKENDS[0],
    json: JsonOption = False,
) -> None:
    """Measure a .netsuke file, or a PyTorch checkpoint with --model, on test images: a classifier's accuracy, or the
    mean average precision of a detector.
    """
    if model is None:
        network = from_file(file, threads, isa, backend)
    else:
        if isa is not None or backend != "engine":
            raise Error("--isa and --backend are for .netsuke files; with --model PyTorch runs the checkpoint")
        network = _from_checkpoint(file, model, threads)
    started = time.perf_counter()
    dataset: Source[Any]
    if isinstance(network, Detector):
        dataset = open_detection(data, sizing=network.sizing, classes=network.labels)
        score = detection_score(network, dataset, batch, limit)
    else:
        dataset = open_dataset(data, sizing=network.sizing, channels=network.input_shape[0])
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
    rest = (
        f"on {score['n']:,} images of {dataset.name} "
        f"({how}, {threads} thread{'s' if threads > 1 else ''}, {result['seconds']:.1f} s)"
    )
    if isinstance(network, Detector):
        rows = table("object", "AP %")
        for label, ap in score["ap"].items():
            rows.add_row(label, "" if ap is None else f"{ap:.2f}")
        show(rows, f"mAP {score['map']:.2f} % (11 points), {score['map_all_points']:.2f} % (all points) {rest}")
    else:
        show(f"top-1 {score['top1']:.2f} %, top-5 {score['top5']:.2f} % {rest}")


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
    for images, labels in watched(dataset.batches(batch, limit), "evaluating", -(-count // batch)):
        if images.shape[1:] != tuple(network.input_shape):
            raise Error(
                f"the network takes {_by(network.input_shape)} images, {dataset.name} has {_by(images.shape[1:])}\n"
                + _remedy(dataset, network.input_shape)
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


def _remedy(dataset: Dataset, shape: tuple[int, int, int]) -> str:
    """What to do about images of another shape than the network's (C, H, W)."""
    _, height, width = shape
    if not isinstance(dataset, ImageFolder):
        return "use the data set it was trained for"
    if height != width:
        return f"bring the images to {width}x{height} pixels"
    return f"export it with preprocess=Preprocess(..., resize={height}, crop={height}), or bring the images to its size"


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _read(file: Path) -> Graph:
    try:
        return artifact.read(file)
    except Error as error:
        if file.suffix == ".netsuke" or not file.is_file():
            raise
        first = str(error).splitlines()[0]
        raise Error(f"{first}\na PyTorch checkpoint needs --model NAME; `netsuke models` lists the names") from None


def from_file(
    file: Path, threads: int = 1, isa: str | None = None, backend: str = BACKENDS[0]
) -> Classifier | Detector:
    """What a file computes. Raises Error unless it is a sound file of a classifier or detector that takes images."""
    graph = _read(file)
    if graph.transform is None:
        raise Error(f"{file} does not say how images become its input: export it with preprocess=Preprocess(...)")
    labels = labels_of(graph)
    if labels is None and (len(graph.outputs) != 1 or graph.outputs[0].rank != 2):
        raise Error(f"{file} is neither a classifier, with one output of (N, classes), nor a detector")
    facts: dict[str, Any] = {"model": graph.model, "backend": backend, "isa": None}
    network: Callable[[np.ndarray], Any]
    if backend == "reference":
        if isa is not None:
            raise Error("--isa is for the engine; the reference is plain numpy")
        network = artifact.Reference(graph)
    else:
        from netsuke.engine import load as load_engine

        network = load_engine(file, threads=threads, isa=isa)
        facts["isa"] = network.isa

    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(network(images))

    if labels is None:
        return Classifier(run, graph.input_shape, graph.transform, facts)
    return Detector(run, labels, graph.input_shape, graph.transform, facts)


def _from_checkpoint(file: Path, model: str, threads: int) -> Classifier | Detector:
    network = load(model, file)
    import torch

    torch.set_num_threads(threads)

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network.module(torch.from_numpy(normalise(images, network.preprocess))).numpy()

    facts = {"model": model, "backend": "torch", "isa": None}
    if network.entry.task == "detection":
        own: Any = network.module
        return Detector(run, own.detector.labels, network.entry.input, network.preprocess, facts)
    return Classifier(run, network.entry.input, network.preprocess, facts)
