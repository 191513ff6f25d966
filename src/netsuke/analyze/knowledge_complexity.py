"""Which teacher to distil from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from netsuke.artifact.contract import Error
from netsuke.data import Dataset, Preprocess, normalise
from netsuke.nn.modes import evaluating

BATCH = 250  # images of a Dataset that a teacher sees at once


@dataclass(frozen=True)
class TeacherScore:
    """One teacher in the ranking. complexity: the score, lower is better; only ratios of scores mean anything.

    cross_entropy: of its soft labels with the true ones, nats an image. top1: per cent. parameters: how many it has.
    """

    name: str
    complexity: float
    cross_entropy: float
    top1: float
    parameters: int


def knowledge_complexity(
    teachers: Mapping[str, nn.Module],
    data: Dataset | Iterable[tuple[Tensor, Tensor]],
    preprocess: Preprocess | None = None,
    price: float = 0.1,
) -> list[TeacherScore]:
    """Teachers from the one that promises most for a small student to the one that promises least.

    BNext (Guo et al. 2022) chooses teachers by a "knowledge complexity" made of how useful a teacher's soft labels are
    on held-out data and of its parameter count. Its closed form is in none of the sources that we could read: **this
    one is ours**, made before any student was trained.

        KC = H / ln(classes) * P^price        H = mean_n( - ln softmax(teacher(x_n))[y_n] )

    H is the cross entropy of the soft labels with the true ones on held-out images: how much of a label the teacher
    leaves open (0 nothing; ln(classes) as much as guessing; a teacher that is sure and wrong pays most). P is the
    number of its parameters, and `price` the exchange rate: a teacher with twice the parameters is preferred only if
    its H is lower by more than 1 - 2^-price (7 % at 0.1; price 0 ranks by H alone). KC rises with H and with P; the
    ranking depends neither on the unit of P nor on the base of the logarithm.

    teachers: names and modules (N, C, H, W) -> logits (N, classes), on one device; run in eval mode, left as they were.
    data: held-out images, which no teacher was trained on: batches of normalised float images (N, C, H, W) and int64
    labels (N,), as a DataLoader gives them; or a Dataset, and then `preprocess` is the teachers'.

    Raises netsuke.Error without teachers, images or (for a Dataset) preprocess, for a negative price, for labels that a
    teacher has no class for, and for logits that are not finite.
    """
    if not teachers:
        raise Error("knowledge_complexity ranks teachers, and none is given")
    if not 0 <= price < math.inf:
        raise Error(f"price is {price}: it must be at least 0 and finite")
    sums = {name: torch.zeros(2, dtype=torch.float64) for name in teachers}  # cross entropy, right answers
    classes: dict[str, int] = {}
    images = 0
    for inputs, labels in _batches(data, preprocess):
        images += len(labels)
        for name, teacher in teachers.items():
            logits = _logits(teacher, inputs)
            classes[name] = logits.shape[1]
            sums[name] += _measure(name, logits, labels)
    if not images:
        raise Error("knowledge_complexity needs held-out images, and the data are empty")
    scores = []
    for name, teacher in teachers.items():
        entropy, right = (float(value) / images for value in sums[name])
        parameters = sum(p.numel() for p in teacher.parameters())
        complexity = entropy / math.log(classes[name]) * parameters**price
        scores.append(TeacherScore(name, complexity, entropy, 100 * right, parameters))
    return sorted(scores, key=lambda score: score.complexity)


def _batches(
    data: Dataset | Iterable[tuple[Tensor, Tensor]], preprocess: Preprocess | None
) -> Iterator[tuple[Tensor, Tensor]]:
    if not isinstance(data, Dataset):
        yield from data
        return
    if preprocess is None:
        raise Error(
            "a Dataset holds 8-bit images: give preprocess, the normalisation that the teachers were trained with"
        )
    for images, labels in data.batches(BATCH):
        yield torch.from_numpy(normalise(images, preprocess)), torch.from_numpy(labels)


def _logits(teacher: nn.Module, inputs: Tensor) -> Tensor:
    with evaluating(teacher), torch.inference_mode():
        return teacher(inputs)


def _measure(name: str, logits: Tensor, labels: Tensor) -> Tensor:
    """(summed cross entropy, number of right answers) of a batch, float64 (2,)."""
    if not bool(torch.isfinite(logits).all()):
        raise Error(f"the teacher {name} gives logits that are not finite: check its weights")
    if logits.shape[1] < 2 or int(labels.max()) >= logits.shape[1]:
        raise Error(f"the teacher {name} knows {logits.shape[1]} classes, and there is a label {int(labels.max())}")
    loss = cross_entropy(logits.double(), labels.to(logits.device), reduction="sum")
    right = (logits.argmax(1) == labels.to(logits.device)).sum()
    return torch.stack([loss, right.double()]).cpu()
