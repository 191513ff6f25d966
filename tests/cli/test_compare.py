"""`netsuke compare`: what it makes of recipes and files, what a second start does, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist import small_set
from netsuke.cli import main
from netsuke.engine import available_isas
from netsuke.train import Output, Recipe, run

torch.set_num_threads(1)
RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
needs_engine = pytest.mark.skipif(not available_isas(), reason="the engine is not compiled here")

TRAINED = 'epochs = 1\nbatch = 16\noptimizer.name = "adamw"\noptimizer.learning_rate = 1e-3\n'
TABLES = {
    "float": "epochs = 0",
    "pruning": TRAINED + '[prune.sparsity]\n"*" = 0.9',
    "fixed-point": 'epochs = 0\n[export]\nfixed_point = "8"\nimages = 32',
    "low-rank": TRAINED + '[low_rank]\nspeedup = 2\nlinear_speedup = 3\nreconstruction = "3d"\nimages = 100',
    "ternary": TRAINED + '[ternary.threshold]\n"*" = 0.05\n[export]\nfloat_layers = "int8,conv1=float32"\nimages = 32',
}


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """SPEC, and a folder of recipes that start from a network that was trained on it."""
    folder = tmp_path_factory.mktemp("compare")
    spec = small_set(folder, train=192)
    optimizer = {"name": "adamw", "learning_rate": 3e-3}
    recipe = {"model": {"name": "lenet5"}, "epochs": 3, "batch": 16, "optimizer": optimizer}
    run(Recipe.from_table(recipe), spec, Output(folder / "run"), device="cpu")
    for name, text in TABLES.items():
        model = f'[model]\nname = "lenet5"\nweights = "{folder}/run/model.safetensors"\n'
        (folder / f"{name}.toml").write_text(f"{text}\n{model}")
    return spec, folder


@needs_engine
def test_recipes_and_files_side_by_side(
    recipes: tuple[str, Path], tmp_path: Path, run_json: RunJson, linear_digits: Path, fails: Fails
) -> None:
    spec, folder = recipes
    out = tmp_path / "out"
    files = [folder / f"{name}.toml" for name in TABLES]
    common = ("--data", spec, "--out", out, "--seconds", 0.05, "--device", "cpu")
    result = run_json("compare", *files, *common)
    found = {network["name"]: network for network in result["networks"]}
    assert list(found) == list(TABLES)
    assert json.loads((out / "compare.json").read_text()) == result
    for name, network in found.items():
        file = out / f"{name}.netsuke"
        assert network["bytes"] == file.stat().st_size
        assert {key: network[key] for key in ("n", "top1", "top5")} == {
            key: run_json("eval", file, "--data", spec)[key] for key in ("n", "top1", "top5")
        }
        assert network["smaller"] == found["float"]["bytes"] / network["bytes"]
        assert network["faster"] == found["float"]["median_ms"] / network["median_ms"]
        assert network["onnxruntime_median_ms"] > 0
        assert network["energy_millijoule"] == pytest.approx(sum(network["energy"].values()))
    assert found["float"]["top1"] > 50
    assert all(network["bytes"] < found["float"]["bytes"] for name, network in found.items() if name != "float")
    assert found["fixed-point"]["energy"]["compute"] < 0.1 * found["float"]["energy"]["compute"]
    assert run_json("info", out / "fixed-point.netsuke")["integers_only"]
    assert (out / "low-rank" / "ranks.json").exists()
    page = (out / "compare.html").read_text()
    assert all(f"<td>{name}</td>" in page for name in TABLES)
    assert (out / "pareto.svg").read_bytes().startswith(b"<?xml")
    # A second start trains nothing again; a file takes part as it is.
    made = {path: path.stat().st_mtime_ns for path in out.glob("*/checkpoint.pt")}
    assert len(made) == 3
    file = tmp_path / "mine.netsuke"
    file.write_bytes((out / "ternary.netsuke").read_bytes())
    again = run_json("compare", *files, file, *common, "--no-onnx")
    assert {path: path.stat().st_mtime_ns for path in made} == made
    networks = again["networks"]
    assert networks[-1] | {"name": 0, "file": 0, "median_ms": 0} == networks[-2] | {
        "name": 0, "file": 0, "median_ms": 0, **{key: networks[-1][key] for key in ("faster", "min_ms", "runs")},
    }  # fmt: skip
    assert all(network["onnxruntime_median_ms"] is None for network in networks)
    assert "the network takes 1x8x8 images" in fails("compare", linear_digits, *common)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["float.toml", "nothing.toml"], "no recipe is named"),
        (["float.toml", "float.toml"], "float is named twice"),
        (["nothing.netsuke"], "nothing.netsuke"),
        (["untrained.toml"], "untrained: low_rank splits a trained network"),
        (["few.toml"], "few: calibration holds 1 image"),
    ],
)
def test_bad_values_are_refused(
    entries: list[str], message: str, recipes: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, folder = recipes
    (folder / "untrained.toml").write_text('epochs = 1\nmodel.name = "lenet5"\nlow_rank.speedup = 2\n')
    few = (folder / "low-rank.toml").read_text().replace("images = 100", "images = 1")
    (folder / "few.toml").write_text(few)
    names = [str(folder / entry) for entry in entries]
    assert main(["compare", *names, "--data", spec, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*.netsuke"))
