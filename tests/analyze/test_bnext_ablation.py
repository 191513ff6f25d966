"""benchmarks/bnext_ablation.py: a tiny study, cut off, goes on and reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks import bnext_ablation
from benchmarks.bnext_ablation import DESIGNS, Study, outcome, page, train
from benchmarks.study import run_missing

from netsuke import Error


@pytest.fixture
def study(tmp_path: Path) -> Study:
    folder, random = tmp_path / "cifar", np.random.RandomState(0)
    folder.mkdir()
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        labels = np.arange(4, dtype=np.uint8)[:, None]
        np.concatenate([labels, random.randint(0, 256, (4, 3072), np.uint8)], axis=1).tofile(folder / name)
    return Study(f"cifar10:{folder}", tmp_path / "out", epochs=1, seeds=1, batch=10, width=0.125, precision="float32")


def test_designs_differ_by_their_switches_alone(study: Study) -> None:
    recipes = {name: study.recipe(name, 0) for name in DESIGNS}
    assert {name: recipe.model.arguments for name, recipe in recipes.items()} == {
        "both": {"width": 0.125},
        "attention": {"width": 0.125, "recoupling": False},
        "recoupling": {"width": 0.125, "attention": False},
        "neither": {"width": 0.125, "attention": False, "recoupling": False},
        "float": {"width": 0.125},
    }
    assert recipes["float"].model.name == "bnext18_cifar_float"
    assert len({str(replace(recipe, model=recipes["both"].model)) for recipe in recipes.values()}) == 1


def test_a_study_goes_on_where_it_was(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [(study.folder(*of), str(of), lambda of=of: train(study, *of)) for of in study.runs()]
    run_missing(runs[:2], study.settings())
    assert outcome(study) is None
    done = (study.folder("both", 0) / "result.json").read_bytes()
    run_missing(runs, study.settings())
    assert (study.folder("both", 0) / "result.json").read_bytes() == done
    found = outcome(study)
    assert found is not None
    assert [row["name"] for row in found["rows"]] == list(DESIGNS)
    assert found["runs"][0]["last_epoch"]["step"] == 2
    assert "| attention alone |" in page(found)
    recipe = (study.folder("neither", 0) / "recipe.toml").read_text()
    assert "attention = false" in recipe
    assert json.loads(done)["study"] == study.settings()
    with pytest.raises(Error, match="other settings"):
        outcome(replace(study, width=0.25))


def test_mistakes_are_told(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["x", "--data", "nothing:here", "--out", str(study.out)])
    with pytest.raises(SystemExit, match="unknown data set kind"):
        bnext_ablation.main()
