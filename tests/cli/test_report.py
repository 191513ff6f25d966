"""`netsuke report` on small runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch

import netsuke
from netsuke.train import read_recipe

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
LOG = "step,epoch,loss,learning_rate,train_accuracy,validation_accuracy,images_per_second,seconds,resumed\n"


@pytest.fixture
def data(tmp_path: Path) -> str:
    """60 random images in CIFAR-10's binary format."""
    random, folder = np.random.default_rng(0), tmp_path / "cifar"
    folder.mkdir()
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = random.integers(0, 256, (10, 3073), np.uint8)
        records[:, 0] %= 10
        records.tofile(folder / name)
    return f"cifar10:{folder}"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs that have ended, with random weights, and one that goes on."""
    folder = tmp_path / "runs"
    for name, classes in (("adabin", 10), ("more", 7), ("going", 0)):
        (folder / name).mkdir(parents=True)
        changes = ["validation=10", f"model.arguments.num_classes={classes or 10}"]
        (folder / name / "recipe.toml").write_text(read_recipe("adabin-cifar10-resnet20", changes).toml())
        (folder / name / "log.csv").write_text(LOG + "4,1,2.25,0.1,20.0,15.0,100,1,\n")
        if classes:
            model = netsuke.create_model("adabin_resnet20", classes)
            (folder / name / "model.safetensors").write_bytes(safetensors.torch.save(model.state_dict()))
    return folder


def test_without_data_there_are_logs_and_costs(runs: Path, tmp_path: Path, run_json: RunJson) -> None:
    out = tmp_path / "report.html"
    made = run_json("report", runs, "--out", out)
    assert made["bytes"] == out.stat().st_size
    found = {run["name"]: run for run in made["runs"]}
    assert found["adabin"]["parameters"] == 271_262
    assert found["more"]["parameters"] == 271_262 - 3 * 65  # of seven classes
    assert (found["going"]["parameters"], found["going"]["loss"]) == (None, 2.25)
    assert found["adabin"]["test"] is None
    page = out.read_text()
    assert "<td>adabin</td><td>2</td><td>20.00 ± 0.00</td><td>15.00 ± 0.00</td><td></td>" in page  # of ten classes
    assert "<td>adabin</td><td>adabin_resnet20</td><td>1</td><td>2.250</td>" in page
    assert page.count("<img ") == 3
    assert "http" not in page.replace("http://www.w3.org", "")


def test_landscapes_and_maps(
    runs: Path, tmp_path: Path, data: str, run_json: RunJson, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runs / "more" / "model.safetensors").unlink()  # its classes are not those of the data
    out, pictures = tmp_path / "report.html", tmp_path / "pictures"
    command = ["report", runs, "--out", out, "--data", data, "--landscape", "--points", 3, "--images", 8]
    made = run_json(*command, "--feature-maps", "--pictures", pictures, "--threads", 1)
    figures = {run["name"]: run for run in made["runs"]}["adabin"]
    assert figures["test"]["n"] == 10
    assert figures["landscape"]["loss"] > 0
    assert {path.name for path in pictures.iterdir()} == {
        "training-curves.svg", "accuracy-against-ops-imagenet.svg", "accuracy-against-ops-cifar10.svg",
        "loss-landscapes.svg", "feature-maps-of-adabin.svg",
    }  # fmt: skip
    held = json.loads((runs / "adabin" / "landscape.json").read_text())
    assert held["loss"][1][1] == pytest.approx(figures["landscape"]["loss"])

    def moved(*_: object) -> None:
        raise AssertionError("a finished landscape was made again")

    monkeypatch.setattr("netsuke.analyze.landscape._measure", moved)
    assert run_json(*command)["runs"][0]["landscape"] == figures["landscape"]


def test_runs_are_chosen_by_name(runs: Path, tmp_path: Path, run_json: RunJson, fails: Fails) -> None:
    out = tmp_path / "report.html"
    made = run_json("report", runs, "--out", out, "--runs", "go*", "--runs", "nothing")
    assert [run["name"] for run in made["runs"]] == ["going"]
    assert "no run in" in fails("report", runs, "--out", out, "--runs", "ada")


def test_errors(runs: Path, tmp_path: Path, data: str, fails: Fails) -> None:
    out = tmp_path / "report.html"
    assert "there is no folder" in fails("report", tmp_path / "none", "--out", out)
    assert "need --data" in fails("report", runs, "--out", out, "--landscape")
    assert "odd number" in fails("report", runs, "--out", out, "--landscape", "--data", data, "--points", 4)
    assert "is a folder" in fails("report", runs, "--out", tmp_path)
    (runs / "adabin" / "model.safetensors").write_bytes(b"damaged")
    assert "a damaged one" in fails("report", runs, "--out", out)
    assert not out.exists()
