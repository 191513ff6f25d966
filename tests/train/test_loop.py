"""The training loop, on small images made here."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netsuke import Error
from netsuke.data import ArrayDataset, Preprocess
from netsuke.nn import BinaryConv2d, RSign, TemperatureWeight
from netsuke.train import Augment, Output, Progress, Recipe, Teachers, accuracy, fit
from netsuke.train.attention import Watch, attention_matching
from netsuke.train.folder import claimed

torch.set_num_threads(1)

PLAIN = Preprocess(mean=(0.5,), std=(0.25,))


def stripes(count: int, seed: int = 0) -> ArrayDataset:
    """Noisy images (1, 6, 6) of horizontal (0) or vertical (1) stripes."""
    random = np.random.RandomState(seed)
    labels = random.randint(0, 2, count)
    rows = np.tile(np.array([1.0, -1.0]).repeat(6).reshape(2, 6), (3, 1))
    images = np.where(labels.reshape(-1, 1, 1) == 0, rows, rows.T) + 0.5 * random.standard_normal((count, 6, 6))
    return ArrayDataset("stripes", ("-", "|"), np.uint8(np.clip(128 + 40 * images, 0, 255))[:, None], labels)


def tensors(data: ArrayDataset) -> tuple[Tensor, Tensor]:
    return Augment(PLAIN).plain(torch.from_numpy(data.images)), torch.from_numpy(data.labels)


def network(binary: bool = False, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    middle: type[nn.Conv2d] = BinaryConv2d if binary else nn.Conv2d
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), middle(8, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 2)
    )


def recipe(epochs: int, **values: Any) -> Recipe:
    adam = {"name": "adamw", "learning_rate": 1e-2}
    return Recipe.from_table({"model": {"name": "x"}, "epochs": epochs, "batch": 16, "optimizer": adam, **values})


def train(model: nn.Module, wanted: Recipe, data: ArrayDataset, **options: Any) -> dict[str, Any]:
    return fit(model, wanted, data, Augment(PLAIN, flip=True), **options)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


@pytest.mark.parametrize("binary", [False, True])
def test_fit_learns(binary: bool) -> None:
    model = network(binary)
    seen: list[Progress] = []
    row = train(model, recipe(4), stripes(256), validation=stripes(50, seed=2), progress=seen.append)
    assert accuracy(model, *tensors(stripes(256, seed=1))) > 90
    assert row["validation_accuracy"] > 90
    assert row["step"] == len(seen) == 4 * 16
    assert [now.share for now in seen] == pytest.approx(np.arange(1, 65) / 64)
    assert not model.training


def test_a_run_is_a_function_of_its_recipe_and_its_seed() -> None:
    models = [network() for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        torch.manual_seed(seed + 7 * len(models))  # the global state is neither read nor relied on
        train(model, recipe(2, seed=seed), stripes(64))
    assert torch.equal(weights(models[0]), weights(models[1]))
    assert not torch.equal(weights(models[0]), weights(models[2]))


def test_a_student_follows_its_teacher_and_not_the_labels() -> None:
    data = stripes(256)
    teacher = network()
    train(teacher, recipe(4), data)
    before = copy.deepcopy(teacher.state_dict())
    student = network(binary=True, seed=1)
    wrong = ArrayDataset("wrong", data.classes, data.images, 1 - data.labels)
    soft = recipe(6, loss={"kind": "soft"}, teacher=[{"model": "x"}])
    train(student, soft, wrong, teachers=Teachers([teacher]))
    assert accuracy(student, *tensors(stripes(256, seed=1))) > 90
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_a_student_looks_where_its_teacher_does() -> None:
    """Beside the same logits: attention is closer with the loss than without, and no hook is left."""
    data = stripes(256)
    teacher = network()
    train(teacher, recipe(4), data)
    images = torch.randn(64, 1, 6, 6, generator=torch.Generator().manual_seed(0))

    def gap(student: nn.Module) -> float:
        with Watch(student, ["2"]) as own, Watch(teacher, ["2"]) as other, torch.no_grad():
            student(images), teacher(images)
            return float(attention_matching(own.take(), other.take()))

    soft: dict[str, Any] = {"loss": {"kind": "soft"}, "teacher": [{"model": "x"}]}
    without, matched = network(seed=1), network(seed=1)
    train(without, recipe(6, **soft), data, teachers=Teachers([teacher]))
    train(
        matched,
        recipe(6, **soft, attention={"weight": 10.0, "layers": ["2"], "teacher_layers": ["2"]}),
        data,
        teachers=Teachers([teacher], watch=["2"]),
    )
    assert gap(matched) < 0.5 * gap(without)
    assert not matched[2]._forward_hooks  # type: ignore[index]


class Stop(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("every", [1, 3])
def test_a_run_that_stops_at_any_step_ends_with_the_same_weights(every: int, tmp_path: Path) -> None:
    """With all that has a state or randomness of its own: two stages, dropout, AdamW's moments, warmup, fixed views."""
    data, teacher, steps = stripes(40), network(seed=9), 8
    wanted = recipe(
        4,
        loss={"kind": "soft", "label_weight": 0.5},
        teacher=[{"model": "x"}],
        augment={"views": 2},
        schedule={"warmup": 0.3},
        clip_gradient=1.0,
        progressive="step",
        stage=[
            {"share": 1, "weight_decay": 0.1, "binary_weights": False},
            {"share": 1, "weight_decay": 0.0},
        ],
    )

    def run(folder: Path, stop: int = 0) -> nn.Module:
        model = network(binary=True)
        model.insert(4, nn.Dropout(0.3))  # type: ignore[operator]

        def seen(now: Progress) -> None:
            if round(now.share * steps) == stop:
                raise Stop

        with contextlib.suppress(Stop):
            train(model, wanted, data, teachers=Teachers([teacher]), output=Output(folder, 0, every), progress=seen)
        return model

    whole = run(tmp_path / "whole")
    for stop in range(1, steps + 1):
        folder = tmp_path / str(stop)
        assert stop == steps or not torch.equal(weights(run(folder, stop)), weights(whole))
        assert torch.equal(weights(run(folder)), weights(whole)), f"stopped at step {stop}"


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.pt.1.tmp").write_text("of a killed run")
    with claimed(tmp_path), pytest.raises(Error, match="is in use by another run"):
        train(network(), recipe(1), stripes(32), output=Output(tmp_path))
    train(network(), recipe(1), stripes(32), output=Output(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "log.csv", "recipe.toml"]


def test_a_batch_larger_than_the_data() -> None:
    with pytest.raises(Error, match="fewer than one batch of 16"):
        train(network(), recipe(1), stripes(15))


@pytest.mark.parametrize(("epochs", "when"), [(1, "step"), (2, "epoch"), (4, "epoch"), (3, "step")])
def test_weights_with_a_temperature_are_two_valued_at_the_end(epochs: int, when: str) -> None:
    """However short the run: the temperature is a share of it."""
    torch.manual_seed(0)
    binary = BinaryConv2d(8, 8, 3, bias=False, binary_a=RSign(8), binary_w=TemperatureWeight())
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), binary, nn.BatchNorm2d(8), nn.PReLU(), nn.Flatten(), nn.Linear(32, 2)
    )
    soft: list[bool] = []

    def look(_: Progress) -> None:
        soft.append(bool((binary.binary_w.values(binary.weight).abs() < 1).any()))

    train(model, recipe(epochs, progressive=when), stripes(256), progress=look)
    assert soft[0]
    assert not any(soft[-len(soft) // 3 :])  # so that batch norm has seen what will run
    assert bool((binary.binary_w(binary.weight).sign.abs() == 1).all())
    assert accuracy(model, *tensors(stripes(256, seed=1))) > 90
