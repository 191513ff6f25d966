"""benchmarks/knowledge_complexity.py: a tiny study runs, goes on after it was cut off, and is summed up right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import knowledge_complexity as study_module
from benchmarks.knowledge_complexity import Study, agreement, outcome, page, run_share, spread

import netsuke
from netsuke import Error
from netsuke.data.dataset import ArrayDataset

CLASSES = ("a", "b", "c")


def dataset(count: int, seed: int) -> ArrayDataset:
    random = np.random.default_rng(seed)
    return ArrayDataset(
        "noise", CLASSES, random.integers(0, 256, (count, 3, 32, 32), np.uint8), random.integers(0, 3, count)
    )


@pytest.fixture
def study(tmp_path: Path) -> Study:
    teachers = {name: netsuke.create_model(name, num_classes=3).eval() for name in ("resnet20", "resnet32")}
    return Study(teachers, dataset(8, 0), dataset(10, 1), tmp_path, epochs=2, seeds=1, views=1, precision="float32")


def test_a_tiny_study_goes_on_where_it_was(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    run_share(study, 1, 2)
    assert (study.out / "resnet20-0" / "result.json").exists()
    assert not (study.out / "resnet32-0").exists()
    assert outcome(study) is None
    run_share(study, 2, 2)
    assert len(list((study.out / "teachers").iterdir())) == 2

    def taught(*_: Any) -> None:
        raise AssertionError("a finished run was done again")

    monkeypatch.setattr(study_module, "teach", taught)
    run_share(study, 1, 1)
    found = outcome(study)
    assert found is not None
    assert [run["last_epoch"]["epoch"] for run in found["runs"]] == [2, 2]
    assert [row["complexity"] for row in found["rows"]] == sorted(row["complexity"] for row in found["rows"])
    assert {row["name"]: row["parameters"] for row in found["rows"]}["resnet20"] == sum(
        p.numel() for p in study.teachers["resnet20"].parameters()
    )
    text = page(json.loads(json.dumps(found)))
    assert "| resnet20 |" in text
    assert "1 students" in text
    with pytest.raises(Error, match="other settings"):
        outcome(replace(study, epochs=3))


def test_students_are_measured_on_the_odd_images_and_scores_on_the_even_ones(study: Study) -> None:
    images, _ = study.test.read(np.arange(10))
    assert np.array_equal(study.half(odd=True).read(np.arange(5))[0], images[1::2])
    assert np.array_equal(study.half(odd=False).read(np.arange(5))[0], images[::2])


def test_spread_and_agreement_by_hand() -> None:
    assert spread([1.0, 2.0, 6.0]) == {"mean": 3.0, "deviation": 2.6458}  # sqrt((4 + 1 + 9) / 2)
    rows = [
        {"complexity": score, "top1": 90 + score, "students_odd_top1": {"mean": reached}}
        for score, reached in ((0.1, 70.0), (0.2, 60.0), (0.3, 65.0))
    ]
    # Of the pairs (70, 60), (70, 65), (60, 65) a low score goes with the better student in the first two.
    assert agreement(rows, "complexity", 1) == 2
    assert agreement(rows, "top1", -1) == 1
