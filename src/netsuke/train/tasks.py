"""What the training loop does not know of a network: what its outputs cost, and how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from netsuke.artifact.contract import Error
from netsuke.data import DetectionDataset, Source, average_precision, detections
from netsuke.nn import Detector
from netsuke.train.batches import annotation
from netsuke.train.losses import Objective
from netsuke.train.multibox import MultiBox


class Task(Protocol):
    """score: the name of what `held_out` computes. training, held_out: new metrics, each a share of 1."""

    score: str

    def training(self) -> Metric: ...
    def held_out(self) -> Metric: ...

    def loss(self, outputs: Any, labels: Tensor, teachers: Sequence[Tensor]) -> Tensor:
        """A scalar, the mean over the batch. outputs: of the model in training mode."""
        ...

    def count(self, metric: Metric, outputs: Any, labels: Tensor) -> None:
        """Tell a `training` metric of the batch whose loss was just taken."""
        ...

    def judge(self, metric: Metric, outputs: Tensor, labels: Tensor) -> None:
        """Tell a `held_out` metric of a batch. outputs: of the model in eval mode."""
        ...


class Classification:
    """Labels int64 (N,); both metrics are the accuracy."""

    score = "accuracy"

    def __init__(self, classes: int, objective: Objective) -> None:
        self.classes, self.loss = classes, objective

    def training(self) -> Metric:
        return MulticlassAccuracy(self.classes, average="micro", validate_args=False)

    held_out = training

    def count(self, metric: Metric, outputs: Tensor, labels: Tensor) -> None:
        metric.update(outputs.detach(), labels)

    judge = count


class Detection:
    """Labels are objects (`netsuke.data.DetectionDataset`). In training the metric is the accuracy over the default
    boxes that are matched with an object, of held-out images it is VOC 2007's mean average precision.
    """

    score = "map"

    def __init__(self, detector: Detector) -> None:
        self.detector, self.multibox = detector, MultiBox(detector)

    def training(self) -> Metric:
        return MulticlassAccuracy(self.detector.classes, average="micro", validate_args=False)

    def held_out(self) -> Metric:
        return MeanAveragePrecision(self.detector.labels)

    def loss(self, outputs: tuple[Tensor, Tensor], labels: Tensor, teachers: Sequence[Tensor]) -> Tensor:
        loss, self._wanted = self.multibox(*outputs, labels)
        return loss

    def count(self, metric: Metric, outputs: tuple[Tensor, Tensor], labels: Tensor) -> None:
        matched = self._wanted > 0
        if bool(matched.any()):
            metric.update(outputs[1].detach()[matched], self._wanted[matched])

    def judge(self, metric: Metric, outputs: Tensor, labels: Tensor) -> None:
        metric.update(outputs, labels)


class MeanAveragePrecision(Metric):
    """`netsuke.data.average_precision` of rows as a `Detector` gives them, over all batches and processes."""

    rows: list[Tensor]
    objects: list[Tensor]

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self.labels = labels
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("objects", [], dist_reduce_fx="cat")

    def update(self, rows: Tensor, objects: Tensor) -> None:
        """rows: (N, keep, 6). objects: (N, M, 6), M as the batch needs it."""
        self.rows.append(rows.float())
        self.objects.append(objects)

    def compute(self) -> Tensor:
        found = [detections(rows.numpy()) for part in self.rows for rows in part]
        wanted = [annotation(objects.numpy()) for part in self.objects for objects in part]
        return torch.tensor(average_precision(found, wanted, self.labels).map)


def task_of(model: nn.Module, objective: Objective, data: Source[Any]) -> Task:
    """What a model is trained to do on this data set. Raises netsuke.Error where the model does something else."""
    detector = next((module for module in model.modules() if isinstance(module, Detector)), None)
    if (detector is None) == isinstance(data, DetectionDataset):
        what = ("a detector", "images with boxes") if detector is None else ("a classifier", "images with a label each")
        raise Error(f"{data.name} is for {what[0]}, and {type(model).__name__} is none: it holds {what[1]}")
    if detector is None:
        return Classification(data.num_classes, objective)
    if tuple(data.classes) != detector.labels:
        raise Error(f"{data.name} has the objects {', '.join(data.classes)}, the model {', '.join(detector.labels)}")
    return Detection(detector)
