"""benchmarks/augmentation_study.py: its strategies by hand, and a tiny study that goes on after it was cut off."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import augmentation_study as study_module
from benchmarks.augmentation_study import (
    EXTRA,
    STRATEGIES,
    Strategy,
    Study,
    StudyAugment,
    cutmix,
    erase,
    mixup,
    outcome,
    page,
    run_share,
    student,
)

import netsuke
from netsuke import Error, Preprocess
from netsuke.data.dataset import ArrayDataset
from netsuke.train import Augment

PREPROCESS = Preprocess((0.5,) * 3, (0.25,) * 3)
IMAGES = torch.arange(1.0, 4.0).view(3, 1, 1, 1).expand(3, 3, 8, 8).contiguous()


def draws(**columns: float | list[float]) -> torch.Tensor:
    made = torch.full((3, EXTRA), 0.5, dtype=torch.float64)
    for name, value in columns.items():
        made[:, getattr(study_module, name)] = torch.as_tensor(value, dtype=torch.float64)
    return made


def test_mixup_and_cutmix_by_hand() -> None:
    # The order of the draws 0.3, 0.1, 0.2 takes images 2, 3, 1 to be mixed with 1, 2, 3.
    order = [0.3, 0.1, 0.2]
    mixed = mixup(IMAGES, draws(AREA=[1.0, 0.75, 0.0], ORDER=order))
    assert mixed[:, 0, 0, 0].tolist() == [1.0, 0.75 * 2 + 0.25 * 3, 1.0]
    cut = cutmix(IMAGES, draws(AREA=0.75, TOP=0.999, LEFT=0.0, ORDER=order))  # a quarter of the area: 4 by 4 pixels
    assert torch.equal(cut[0, 0, 4:, :4], torch.full((4, 4), 2.0))
    assert cut[0].eq(1).sum() == 3 * (64 - 16)
    assert torch.equal(cutmix(IMAGES, draws(AREA=1.0)), IMAGES)
    whole = cutmix(IMAGES, draws(AREA=0.0, ORDER=order))
    assert torch.equal(whole, IMAGES[[1, 2, 0]])


def test_erasing_by_hand() -> None:
    # An aspect of 1 is in the middle of its range; the area is 2 % + 31.33 % * draw: 1/4 of the image.
    area = (0.25 - 0.02) / (1 / 3 - 0.02)
    erased = erase(IMAGES, draws(WHETHER=[0.1, 0.9, 0.49], AREA=area, TOP=0.0, LEFT=0.5), 0.5)
    assert torch.equal(erased[1], IMAGES[1])
    for image in erased[0], erased[2]:
        assert image.eq(0).sum() == 3 * 16
        assert image[:, :4, 2:6].eq(0).all()


def test_a_strategy_is_the_augmentation_of_training_and_its_own_part() -> None:
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = Augment(PREPROCESS, 4, True, channels_last=True)
    ours = StudyAugment(PREPROCESS, STRATEGIES["standard"])
    table = ours.draw(4, torch.Generator().manual_seed(1))
    assert torch.equal(ours.apply(images, table), plain.apply(images, table[:, :-EXTRA]))
    none = StudyAugment(PREPROCESS, STRATEGIES["none"])
    assert torch.equal(none.apply(images, table), none.plain(images))
    for name, strategy in STRATEGIES.items():
        augment = StudyAugment(PREPROCESS, strategy)
        made = augment(images, torch.Generator().manual_seed(2))
        assert made.shape == images.shape, name
        assert torch.isfinite(made).all(), name
    erased = StudyAugment(PREPROCESS, Strategy("", crop=0, flip=False, erasing=1.0)).apply(images, table)
    assert (erased != none.plain(images)).any(1).flatten(1).any(1).all()


def dataset(count: int, seed: int) -> ArrayDataset:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 3, 32, 32), np.uint8)
    return ArrayDataset("noise", ("a", "b", "c"), images, random.integers(0, 3, count))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    teacher = netsuke.create_model("resnet20", num_classes=3).eval()
    return Study(
        teacher, "resnet20", PREPROCESS, dataset(8, 0), dataset(10, 1), tmp_path, strategies=("standard", "cutmix"),
        epochs=1, seeds=1, precision="float32",
    )  # fmt: skip


def test_a_tiny_study_goes_on_where_it_was(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    run_share(study, 1, 2)
    assert outcome(study) is None
    assert sorted(path.parent.name for path in study.out.glob("*/result.json")) == [
        "cutmix-binary-0", "standard-binary-0",
    ]  # fmt: skip
    run_share(study, 2, 2)

    def trained(*_: Any) -> None:
        raise AssertionError("a finished run was done again")

    monkeypatch.setattr(study_module, "train", trained)
    run_share(study, 1, 1)
    found = outcome(study)
    assert found is not None
    assert [row["name"] for row in found["rows"]] == ["standard", "cutmix"]
    assert found["rows"][0]["binary"]["gain"]["mean"] == 0
    tops = {(run["strategy"]["what"], run["kind"]): run["test"]["top1"] for run in found["runs"]}
    gain = found["rows"][1]["float"]["gain"]["mean"]
    assert gain == pytest.approx(tops["CutMix", "float"] - tops[STRATEGIES["standard"].what, "float"])
    text = page(json.loads(json.dumps(found)))
    assert "| cutmix | CutMix |" in text
    assert "Better or worse than the standard with every seed: binary network: " in text
    with pytest.raises(Error, match="other settings"):
        outcome(replace(study, epochs=3))


def test_the_twins_are_a_binary_and_a_float_network(study: Study) -> None:
    binary, twin = (student(study, kind, 0) for kind in study_module.KINDS)
    assert {type(m).__name__ for m in binary.modules()} & {"BinaryConv2d"}
    assert not {type(m).__name__ for m in twin.modules()} & {"BinaryConv2d"}
    named = replace(study, model="adabin_resnet20")
    assert type(student(named, "float", 0)).__name__ == "CifarResNet"
    assert torch.equal(student(named, "binary", 1).conv1.weight, student(named, "binary", 1).conv1.weight)
    with pytest.raises(Error, match="strategies are none, flip"):
        replace(study, strategies=("flip",))
