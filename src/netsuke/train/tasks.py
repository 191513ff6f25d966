"""What the training loop does not know of a network: what its outputs cost, and how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, distributed, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from netsuke.artifact.contract import Error
from netsuke.data import Annotation, DetectionDataset, Detections, Source, average_precision, detections
from netsuke.nn import Detector
from netsuke.train.batches import annotation
from netsuke.train.losses import Objective
from netsuke.train.multibox import MultiBox
from netsuke.train.recipe import Augmentation, Loss, Recipe


class Score(Protocol):
    """Of held-out images, over all batches and processes; `compute` gives a share of 1."""

    def to(self, device: Any) -> Any: ...
    def update(self, outputs: Tensor, labels: Tensor) -> None: ...
    def compute(self) -> Any: ...


class Task(Protocol):
    """score: the name of what `held_out` computes. training: a new metric of the batches, a share of 1."""

    score: str

    def training(self) -> Metric: ...

    def held_out(self) -> Score:
        """A new one. Its `update` takes outputs of the model in eval mode."""
        ...

    def loss(self, outputs: Any, labels: Tensor, teachers: Sequence[Tensor]) -> Tensor:
        """A scalar, the mean over the batch. outputs: of the model in training mode."""
        ...

    def count(self, metric: Metric, outputs: Any, labels: Tensor) -> None:
        """Tell a `training` metric of the batch whose loss was just taken."""
        ...


class Classification:
    """Labels int64 (N,); both metrics are the accuracy."""

    score = "accuracy"

    def __init__(self, classes: int, recipe: Recipe) -> None:
        if recipe.augment.ssd:
            raise Error("augment.ssd moves boxes, and the data have none: leave it out")
        values = recipe.loss
        self.classes = classes
        self.loss = Objective(values.kind, values.label_weight, values.label_smoothing, values.temperature, values.form)

    def training(self) -> Metric:
        return MulticlassAccuracy(self.classes, average="micro", validate_args=False)

    held_out = training

    def count(self, metric: Metric, outputs: Tensor, labels: Tensor) -> None:
        metric.update(outputs.detach(), labels)


class Detection:
    """Labels are objects (`netsuke.train.batches.label_tensor`). In training the metric is the accuracy over the
    default boxes that are matched with an object, of held-out images it is VOC 2007's mean average precision.
    """

    score = "map"

    def __init__(self, detector: Detector, recipe: Recipe, validation: DetectionDataset | None) -> None:
        values = recipe.augment
        for name in ("crop_padding", "flip", "rand_augment", "random_resized_crop"):
            if getattr(values, name) != getattr(Augmentation(), name):
                raise Error(f"augment.{name} moves images and not their boxes: leave it out, and take [augment.ssd]")
        if recipe.loss != Loss() or recipe.teacher:
            raise Error("[loss] and teachers are for classifiers: a detector has SSD's loss, leave them out")
        if validation is not None and not any(
            (~validation.annotations(i).difficult).any() for i in range(len(validation))
        ):
            raise Error(f"{validation.name} holds no object that counts: set validation higher, or to 0")
        self.detector, self.multibox = detector, MultiBox(detector)

    def training(self) -> Metric:
        return MulticlassAccuracy(self.detector.classes, average="micro", validate_args=False)

    def held_out(self) -> Score:
        return MeanAveragePrecision(self.detector.labels)

    def loss(self, outputs: tuple[Tensor, Tensor], labels: Tensor, teachers: Sequence[Tensor]) -> Tensor:
        loss, self._wanted = self.multibox(*outputs, labels)
        return loss

    def count(self, metric: Metric, outputs: tuple[Tensor, Tensor], labels: Tensor) -> None:
        matched = self._wanted > 0
        if bool(matched.any()):
            metric.update(outputs[1].detach()[matched], self._wanted[matched])


class MeanAveragePrecision:
    """`netsuke.data.average_precision` of rows as a `Detector` gives them. It is computed on the CPU."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        self.seen: list[tuple[Detections, Annotation]] = []

    def to(self, device: Any) -> MeanAveragePrecision:
        return self

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        """outputs: rows (N, keep, 6). labels: objects (N, M, 6), M as the batch needs it."""
        for rows, objects in zip(outputs.float().cpu().numpy(), labels.cpu().numpy(), strict=True):
            self.seen.append((detections(rows), annotation(objects)))

    def compute(self) -> float:
        found, wanted = zip(*self._of_all(), strict=True)
        return average_precision(found, wanted, self.labels).map

    def _of_all(self) -> list[tuple[Detections, Annotation]]:
        """What all processes have seen."""
        if not distributed.is_available() or not distributed.is_initialized():
            return self.seen
        parts: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(parts, self.seen)
        return [pair for part in parts for pair in part]


def task_of(
    model: nn.Module, recipe: Recipe, data: Source[Any], validation: Source[Any] | None = None
) -> Classification | Detection:
    """What a model is trained to do on this data set.

    Raises netsuke.Error where the model does something else, or the recipe has what its task cannot use.
    """
    detector = next((module for module in model.modules() if isinstance(module, Detector)), None)
    if (detector is None) == isinstance(data, DetectionDataset):
        what = ("a detector", "images with boxes") if detector is None else ("a classifier", "images with a label each")
        raise Error(f"{data.name} is for {what[0]}, and {type(model).__name__} is none: it holds {what[1]}")
    if detector is None:
        return Classification(data.num_classes, recipe)
    if tuple(data.classes) != detector.labels:
        raise Error(f"{data.name} has the objects {', '.join(data.classes)}, the model {', '.join(detector.labels)}")
    assert validation is None or isinstance(validation, DetectionDataset)
    return Detection(detector, recipe, validation)
