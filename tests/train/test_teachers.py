"""Teachers: frozen, folded, and active when the curriculum says so."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netsuke
from netsuke import Error
from netsuke.train import Objective, Teachers, TeacherSource


def network(seed: int = 0) -> nn.Module:
    """A small network whose batch norm is no identity."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
    model(3 * torch.randn(64, 2, 5, 5) + 1)
    return model


class Branching(nn.Module):
    """torch.fx cannot trace it: it looks at the values."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) if float(x.sum()) > 0 else self.net(-x)


IMAGES = torch.randn(7, 2, 5, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("make", [network, Branching])
def test_logits_are_the_networks_own_in_eval_mode(make: Any) -> None:
    model = make()
    before = copy.deepcopy(model.state_dict())
    (found,) = Teachers([model])(IMAGES, 0.0)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(found, model.eval()(IMAGES), rtol=1e-5, atol=1e-5)


def test_batch_norms_are_folded_and_nothing_can_train() -> None:
    (teacher,) = Teachers([network()]).networks
    assert not any(isinstance(m, nn.BatchNorm2d) for m in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())


def test_the_student_learns_from_logits_made_in_inference_mode() -> None:
    student = torch.zeros(7, 3, requires_grad=True)
    logits = Teachers([network()])(IMAGES, 0.0)
    Objective("soft")(student, torch.zeros(7, dtype=torch.int64), logits).backward()
    (student * logits[0]).sum().backward()  # a user's own loss may save them
    assert student.grad is not None


def test_bfloat16_is_near_and_gives_float32() -> None:
    (exact,) = Teachers([network()])(IMAGES, 0.0)
    (low,) = Teachers([network()], precision="bfloat16")(IMAGES, 0.0)
    assert low.dtype == torch.float32
    assert not torch.equal(low, exact)
    assert float((low - exact).abs().max()) < 0.05 * float(exact.abs().max())


@pytest.mark.parametrize(
    ("assistants", "epochs"),
    [(1, 512), (2, 512), (3, 512), (3, 60), (3, 7), (2, 1)],
)
def test_the_curriculum_goes_from_weak_to_strong(assistants: int, epochs: int) -> None:
    teachers = Teachers([network(i) for i in range(assistants + 1)], curriculum="consecutive")
    for epoch in range(epochs):
        turn = epoch * assistants // epochs  # floor(epoch / (epochs / assistants)), in whole numbers
        assert teachers.active(epoch / epochs) == [turn, assistants]
    assert teachers.active(1.0) == [assistants - 1, assistants]


def test_active_teachers_alone_answer() -> None:
    models = [network(i) for i in range(3)]
    everyone = Teachers(models)(IMAGES, 0.7)
    assert len(everyone) == 3
    two = Teachers(models, curriculum="consecutive")
    for progress, turn in ((0.0, 0), (0.49, 0), (0.5, 1), (1.0, 1)):
        found = two(IMAGES, progress)
        assert len(found) == 2
        torch.testing.assert_close(found[0], everyone[turn])
        torch.testing.assert_close(found[1], everyone[2])


def test_a_teacher_listed_twice_runs_once() -> None:
    weak, main = network(0), network(1)
    teachers = Teachers([weak, main, main], curriculum="consecutive")
    assert teachers.networks[1] is teachers.networks[2]
    runs: list[int] = []
    teachers.networks[2].register_forward_hook(lambda *_: runs.append(1))
    first, second = teachers(IMAGES, 0.9)
    assert torch.equal(first, second)
    assert runs == [1]


def test_sources_are_loaded_and_equal_ones_shared(tmp_path: Path) -> None:
    model = netsuke.create_model("resnet20", num_classes=7, seed=3).eval()
    torch.save(model.state_dict(), tmp_path / "a.pt")
    source = TeacherSource("resnet20", tmp_path / "a.pt", {"num_classes": 7})
    teachers = Teachers.load([source, TeacherSource("resnet20", str(tmp_path / "a.pt"), {"num_classes": 7}), source])
    assert teachers.networks[0] is teachers.networks[2]
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(teachers(images, 0.0)[0], model(images), rtol=1e-4, atol=1e-4)
    with pytest.raises(Error, match="does not fit"):
        TeacherSource("resnet20", tmp_path / "a.pt").load()
    with pytest.raises(Error, match="no checkpoint"):
        TeacherSource("resnet20", tmp_path / "b.pt").load()


def test_a_teacher_may_be_one_of_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for timm, which is no dependency."""
    made = network(seed=5).eval()
    torch.save(made.state_dict(), tmp_path / "a.pt")
    asked = []

    def create(name: str, pretrained: bool = False, **arguments: Any) -> nn.Module:
        asked.append((name, pretrained, arguments))
        if name == "nonsense":
            raise RuntimeError("Unknown model (nonsense)\nmore")
        return network(seed=5 if pretrained else 6)

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create))
    sources = [
        TeacherSource("timm/tiny_b0", weights, {"num_classes": 3}) for weights in (tmp_path / "a.pt", "pretrained")
    ]
    for logits in Teachers.load(sources)(IMAGES, 0.0):
        with torch.no_grad():
            torch.testing.assert_close(logits, made(IMAGES), rtol=1e-5, atol=1e-5)
    assert asked == [("tiny_b0", False, {"num_classes": 3}), ("tiny_b0", True, {"num_classes": 3})]
    with pytest.raises(Error, match=r"timm/nonsense: Unknown model \(nonsense\)$"):
        TeacherSource("timm/nonsense", "pretrained").load()
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(Error, match="timm/tiny_b0 needs timm: pip install timm"):
        sources[0].load()


@pytest.mark.parametrize(
    ("count", "settings", "says"),
    [
        (0, {}, "at least 1 teacher"),
        (1, {"curriculum": "consecutive"}, "at least 2 teachers"),
        (1, {"curriculum": "random"}, "all, consecutive"),
        (1, {"precision": "int8"}, "float32, bfloat16"),
    ],
)
def test_wrong_settings_are_refused(count: int, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(Error, match=says):
        Teachers([network()] * count, **settings)


@pytest.mark.parametrize("progress", [-0.1, 1.1, float("nan")])
def test_progress_is_a_share(progress: float) -> None:
    with pytest.raises(Error, match="give 0 to 1"):
        Teachers([network()]).active(progress)
