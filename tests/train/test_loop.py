"""The training loop and the distillation loss."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from netsuke.nn import BinaryConv2d
from netsuke.train import Recipe, accuracy, distillation, fit

torch.set_num_threads(1)


def stripes(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy images (N, 1, 6, 6) of horizontal (0) or vertical (1) stripes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=generator)
    rows = torch.tensor([1.0, -1.0]).repeat(3).view(6, 1).expand(6, 6)
    images = torch.where(labels.view(-1, 1, 1) == 0, rows, rows.T)
    return (images + 0.5 * torch.randn(count, 6, 6, generator=generator)).unsqueeze(1), labels


def network(binary: bool = False, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    middle: type[nn.Conv2d] = BinaryConv2d if binary else nn.Conv2d
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), middle(8, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 2)
    )


def test_distillation_by_hand() -> None:
    student = torch.tensor([[0.0, math.log(3.0)], [2.0, 2.0]], dtype=torch.float64)
    teacher = torch.tensor([[0.0, 0.0], [0.0, math.log(4.0)]], dtype=torch.float64)
    # Softmax of the student: (1/4, 3/4), (1/2, 1/2); of the teacher: (1/2, 1/2), (1/5, 4/5).
    by_hand = (-0.5 * math.log(1 / 4) - 0.5 * math.log(3 / 4) + math.log(2)) / 2
    assert float(distillation(student, teacher)) == pytest.approx(by_hand, abs=1e-12)


def test_distillation_is_least_where_the_student_agrees() -> None:
    teacher = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    student = teacher.detach().clone().requires_grad_()
    loss = distillation(student, teacher)
    loss.backward()
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-15
    assert teacher.grad is None


@pytest.mark.parametrize("binary", [False, True])
def test_fit_learns(binary: bool) -> None:
    images, labels = stripes(256)
    held_out = stripes(256, seed=1)
    model = network(binary)
    shares: list[float] = []
    fit(model, images, labels, Recipe(epochs=4, batch=50), progress=shares.append)
    assert accuracy(model, *held_out) > 90
    assert not model.training
    assert len(shares) == 4 * 6
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_fit_is_repeatable_and_depends_on_its_seed() -> None:
    images, labels = stripes(64)
    models = [network() for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        fit(model, images, labels, Recipe(epochs=2, batch=16, seed=seed))
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_student_follows_its_teacher_and_not_the_labels() -> None:
    images, labels = stripes(256)
    teacher = network()
    fit(teacher, images, labels, Recipe(epochs=4, batch=50))
    before = copy.deepcopy(teacher.state_dict())
    student = network(binary=True, seed=1)
    fit(student, images, 1 - labels, Recipe(epochs=6, batch=50), teacher=teacher)
    assert accuracy(student, *stripes(256, seed=1)) > 90
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
