"""The losses, against float64 computations that share no code with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from netsuke import Error
from netsuke.train import Objective
from netsuke.train.losses import diversified_distillation, soft_cross_entropies

N, CLASSES = 6, 5


def logits(seed: int, count: int = N) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (count, CLASSES))


def labels(seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, CLASSES, N)


def soft_row(student: list[float], teacher: list[float], temperature: float) -> float:
    """- sum_c p_teacher log p_student of one image, in plain Python."""
    z = [math.exp(v / temperature) for v in teacher]
    s = math.log(sum(math.exp(v / temperature) for v in student))
    return -sum(t / sum(z) * (v / temperature - s) for t, v in zip(z, student, strict=True))


def hard_rows(student: np.ndarray, target: np.ndarray, smoothing: float) -> list[float]:
    rows = []
    for row, label in zip(student, target, strict=True):
        total = math.log(sum(math.exp(v) for v in row))
        wanted = [(1 - smoothing) * (c == label) + smoothing / CLASSES for c in range(CLASSES)]
        rows.append(-sum(w * (v - total) for w, v in zip(wanted, row, strict=True)))
    return rows


def by_hand(student: np.ndarray, teachers: list[np.ndarray], temperature: float, form: str) -> float:
    """BNext's weighted sum, image by image."""
    gaps = [[soft_row(list(s), list(t[n]), temperature) for n, s in enumerate(student)] for t in teachers]
    means = [sum(row) / len(row) for row in gaps]
    total = 0.0
    for n in range(len(student)):
        above = sum(math.exp(row[n]) for row in gaps)
        for i, row in enumerate(gaps):
            total += math.exp(row[n]) / above * (means[i] if form == "published" else row[n])
    return temperature**2 * total / len(student) / len(teachers)


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(a) for a in arrays]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_cross_entropy_of_many_teachers(temperature: float) -> None:
    student, *teachers = (logits(i) for i in range(4))
    expected = [[soft_row(list(s), list(t[n]), temperature) for n, s in enumerate(student)] for t in teachers]
    found = soft_cross_entropies(torch.from_numpy(student), tensors(*teachers), temperature)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-9)
    objective = Objective("soft", temperature=temperature)
    loss = objective(torch.from_numpy(student), torch.from_numpy(labels()), tensors(*teachers))
    assert float(loss) == pytest.approx(temperature**2 * np.mean(expected), abs=1e-9)


@pytest.mark.parametrize("form", ["intended", "published"])
@pytest.mark.parametrize(("count", "temperature"), [(1, 1.0), (2, 1.0), (2, 2.0), (3, 1.0)])
def test_diversified_distillation(form: str, count: int, temperature: float) -> None:
    student, *teachers = (logits(i) for i in range(count + 1))
    found = diversified_distillation(torch.from_numpy(student), tensors(*teachers), temperature, form)
    assert float(found) == pytest.approx(by_hand(student, teachers, temperature, form), abs=1e-9)


def test_the_two_forms_differ_and_agree_on_one_image() -> None:
    student, weak, main = tensors(logits(0), logits(1), logits(2))
    one = [t[:1] for t in (student, weak, main)]
    forms = [diversified_distillation(student, [weak, main], form=form) for form in ("intended", "published")]
    assert abs(float(forms[0] - forms[1])) > 1e-3
    forms = [diversified_distillation(one[0], one[1:], form=form) for form in ("intended", "published")]
    assert float(forms[0]) == pytest.approx(float(forms[1]), abs=1e-12)


@pytest.mark.parametrize("form", ["intended", "published"])
def test_no_gradient_passes_through_the_weights_or_to_the_teachers(form: str) -> None:
    student, weak, main = tensors(logits(0), logits(1), logits(2))
    student.requires_grad_()
    weak.requires_grad_()
    diversified_distillation(student, [weak, main], form=form).backward()
    # The same sum with the weights put in as numbers, and d H / d student = softmax(student) - softmax(teacher).
    p, a, b = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (logits(0), logits(1), logits(2)))
    gaps = np.array([[soft_row(list(s), list(logits(i)[n]), 1.0) for n, s in enumerate(logits(0))] for i in (1, 2)])
    alpha = np.exp(gaps) / np.exp(gaps).sum(0)
    if form == "published":
        alpha = alpha.mean(1, keepdims=True).repeat(N, axis=1)
    expected = (alpha[0][:, None] * (p - a) + alpha[1][:, None] * (p - b)) / (2 * N)
    assert student.grad is not None
    np.testing.assert_allclose(student.grad.numpy(), expected, rtol=0, atol=1e-12)
    assert weak.grad is None


def test_a_larger_gap_weighs_more() -> None:
    student = torch.zeros(1, 2, dtype=torch.float64)
    near, far = torch.tensor([[0.1, 0.0]]).double(), torch.tensor([[9.0, 0.0]]).double()
    student.requires_grad_()
    diversified_distillation(student + torch.tensor([[-1.0, 0.0]]), [near, far]).backward()
    assert student.grad is not None
    pulls = [torch.softmax(torch.tensor([[-1.0, 0.0]]).double(), 1) - torch.softmax(t, 1) for t in (near, far)]
    even = (pulls[0] + pulls[1]) / 4
    assert abs(float(student.grad[0, 0])) > 1.1 * abs(float(even[0, 0]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_labels(smoothing: float) -> None:
    student, target = logits(0), labels()
    loss = Objective(label_smoothing=smoothing)(*tensors(student, target))
    assert float(loss) == pytest.approx(np.mean(hard_rows(student, target, smoothing)), abs=1e-9)


@pytest.mark.parametrize("kind", ["soft", "diversified"])
def test_labels_and_teachers_are_weighted(kind: str) -> None:
    student, weak, main, target = logits(0), logits(1), logits(2), labels()
    objective = Objective(kind, label_weight=0.3, label_smoothing=0.1, temperature=2.0)
    found = objective(*tensors(student, target), tensors(weak, main))
    hard = np.mean(hard_rows(student, target, 0.1))
    soft = 4 * np.mean([soft_row(list(s), list(t[n]), 2.0) for t in (weak, main) for n, s in enumerate(student)])
    other = soft if kind == "soft" else by_hand(student, [weak, main], 2.0, "intended")
    assert float(found) == pytest.approx(0.3 * hard + 0.7 * other, abs=1e-9)


def test_the_factor_keeps_the_size_of_the_gradient() -> None:
    """At a high temperature the gradient is that of the logits' squared distance (Hinton et al. 2015, equation 4)."""
    sizes = []
    for temperature in (50.0, 100.0):
        student = torch.from_numpy(logits(0)).requires_grad_()
        Objective("soft", temperature=temperature)(student, torch.from_numpy(labels()), tensors(logits(1))).backward()
        assert student.grad is not None
        sizes.append(float(student.grad.norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_low_precision_logits_are_taken_in_float32() -> None:
    student, teacher = (torch.from_numpy(logits(i)).bfloat16() for i in (0, 1))
    target = torch.from_numpy(labels())
    for objective in (Objective(), Objective("soft"), Objective("diversified", form="published")):
        loss = objective(student, target, [teacher])
        assert loss.dtype == torch.float32
        exact = objective(student.double(), target, [teacher.double()])
        assert float(loss) == pytest.approx(float(exact), rel=1e-6)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"kind": "hard"}, "labels, soft, diversified"),
        ({"form": "fixed"}, "intended, published"),
        ({"label_weight": 1.0}, "below 1"),
        ({"label_weight": -0.1}, "at least 0"),
        ({"label_smoothing": 1.0}, "below 1"),
        ({"temperature": 0.0}, "above 0"),
        ({"temperature": float("nan")}, "above 0"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(Error, match=says):
        Objective(**values)


def test_missing_and_misshapen_teachers_are_refused() -> None:
    student, target, teacher = tensors(logits(0), labels(), logits(1))
    with pytest.raises(Error, match="needs a teacher"):
        Objective("soft")(student, target)
    with pytest.raises(Error, match="the same classes"):
        Objective("soft")(student, target, [teacher[:, :3]])
    with pytest.raises(Error, match="intended, published"):
        diversified_distillation(student, [teacher], form="fixed")
