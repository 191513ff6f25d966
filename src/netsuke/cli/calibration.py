"""The images that choose the ranges of an int8 file, and what int8 costs on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from netsuke import artifact
from netsuke.artifact.contract import Error
from netsuke.cli.checkpoint import Network
from netsuke.cli.output import remark
from netsuke.data import DetectionDataset, ImageFolder, Preprocess, Source, normalise, open_dataset, open_detection

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 64


@dataclass
class Calibration:
    """images: uint8 (N, C, H, W). labels: int64 (N,), None for boxes. name: the data set's and its split."""

    spec: str
    name: str
    num_classes: int
    images: np.ndarray
    labels: np.ndarray | None

    def batches(self, preprocess: Preprocess) -> Iterator[Tensor]:
        """The images as the float network takes them."""
        import torch

        for start in range(0, len(self.images), BATCH):
            yield torch.from_numpy(normalise(self.images[start : start + BATCH], preprocess))


def read_images(spec: str, count: int, network: Network) -> Calibration:
    """`count` evenly spaced images of the data set's training split.

    Raises Error if there is no such data set, or its images or classes do not fit the network.
    """
    channels, height, width = network.entry.input
    dataset: Source[Any]
    if network.entry.task == "detection":
        dataset = open_detection(spec, "train", network.preprocess)
    else:
        dataset = open_dataset(spec, "train", sizing=network.preprocess, channels=channels)
    if isinstance(dataset, ImageFolder):
        remark(
            f"{spec} has no training split, all of it is used: point it at training images, not at those you test with"
        )
    parts = list(dataset.batches(BATCH, count))
    images = np.concatenate([images for images, _ in parts])
    labels = None if isinstance(dataset, DetectionDataset) else np.concatenate([labels for _, labels in parts])
    if images.shape[1:] != (channels, height, width):
        raise Error(
            f"{network.entry.name} takes {_by((channels, height, width))} images, {dataset.name} has "
            f"{_by(images.shape[1:])}\ncalibrate on images of the data set that it was trained for"
        )
    return Calibration(spec, dataset.name, dataset.num_classes, images, labels)


def compare(float32: bytes, int8: bytes, calibration: Calibration) -> dict[str, Any]:
    """What int8 costs: both files run over the calibration images.

    Returns, in per cent, equal_top1 (images that get one class from both files), top1_float32, top1_int8 and
    top1_difference; None where the network is no classifier, or has other classes than the images. Also bytes of both
    files, n, and what ran them.
    """
    graph = artifact.decode(float32)
    result: dict[str, Any] = {
        "data": calibration.spec,
        "name": calibration.name,
        "n": len(calibration.images),
        "bytes_float32": len(float32),
        "bytes_int8": len(int8),
        **dict.fromkeys(("equal_top1", "top1_float32", "top1_int8", "top1_difference", "backend")),
    }
    if len(graph.outputs) != 1 or graph.outputs[0].rank != 2:
        remark(f"{graph.model} is no classifier: what int8 costs is not measured; `netsuke eval` both files")
        return result
    runs, result["backend"] = _runners(float32, int8)
    before, after = (_scores(run, calibration.images) for run in runs)
    result["equal_top1"] = _percentage(before.argmax(1) == after.argmax(1))
    if before.shape[1] != calibration.num_classes:
        remark(
            f"{calibration.name} has {calibration.num_classes} classes, {graph.model} {before.shape[1]}: "
            "no accuracy, only how often both files agree"
        )
        return result
    top1 = [_percentage(scores.argmax(1) == calibration.labels) for scores in (before, after)]
    return {**result, "top1_float32": top1[0], "top1_int8": top1[1], "top1_difference": top1[1] - top1[0]}


def _runners(*files: bytes) -> tuple[list[Callable[[np.ndarray], Any]], str]:
    """What runs the files: the engine, or the reference where no engine was compiled."""
    from netsuke.engine import available_isas, load

    if available_isas():
        return [load(data) for data in files], "engine"
    return [artifact.Reference(artifact.decode(data)) for data in files], "reference"


def _scores(run: Callable[[np.ndarray], Any], images: np.ndarray) -> np.ndarray:
    """(N, classes)"""
    return np.concatenate([np.asarray(run(images[start : start + BATCH])) for start in range(0, len(images), BATCH)])


def _percentage(hits: np.ndarray) -> float:
    return 100 * float(hits.mean())


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
