"""`netsuke compress low-rank`: what it leaves, what a second start does, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import netsuke
from mnist import small_set
from netsuke.cli import main
from netsuke.data import open_dataset
from netsuke.methods import RECONSTRUCTIONS
from netsuke.models import create_model, load_weights
from netsuke.train import Output, Recipe, run

torch.set_num_threads(1)
RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """SPEC, and the weights of a network that was trained on it."""
    folder = tmp_path_factory.mktemp("low-rank")
    spec = small_set(folder, train=192)
    optimizer = {"name": "adamw", "learning_rate": 3e-3}
    recipe = {"model": {"name": "lenet5"}, "epochs": 3, "batch": 16, "validation": 32, "optimizer": optimizer}
    run(Recipe.from_table(recipe), spec, Output(folder / "float"), device="cpu")
    return spec, str(folder / "float" / "model.safetensors")


def command(trained: tuple[str, str], out: Path, *more: str) -> list[str]:
    return [
        "compress", "low-rank", "--model", "lenet5", "--weights", trained[1], "--data", trained[0], "--out", str(out),
        "--held-out", "32", "--images", "120", "--epochs", "1", "--set", "batch=16", "--set", "augment.flip=false",
        "--threads", "1", "--device", "cpu", *more,
    ]  # fmt: skip


def test_a_network_is_split_trained_exported_and_can_be_had_again(
    trained: tuple[str, str], tmp_path: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str], fails: Fails
) -> None:
    out = tmp_path / "out"
    result = run_json(*command(trained, out, "--speedup", "2", "--linear-speedup", "3"))
    assert result["out"] == str(out / "compressed.netsuke")
    assert result["bytes"] == (out / "compressed.netsuke").stat().st_size
    assert 2 <= result["speedup"] == result["convolutions"][0] / result["convolutions"][1]
    assert result["linears"][0] >= 3 * result["linears"][1]
    assert result["held_out"] == 32
    assert all(0 <= result[key] <= 100 for key in ("float_error", "split_error", "error"))
    assert json.loads((out / "report.json").read_text()) == {k: v for k, v in result.items() if k != "out"}
    # The structure and the weights give the network of the file.
    ranks = json.loads((out / "ranks.json").read_text())
    assert set(ranks) == {layer["name"] for layer in result["layers"]}
    module = load_weights(netsuke.factorize(create_model("lenet5"), ranks), out / "model.safetensors").eval()
    images, labels = next(iter(open_dataset(trained[0], "test").batches(20)))
    with torch.no_grad():
        expected = module(torch.from_numpy(images / 255).float()).numpy()
    engine = netsuke.load(out / "compressed.netsuke")
    np.testing.assert_allclose(engine(images), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert float((engine(images).argmax(1) == labels).mean()) > 0.5
    # The folder is that of a run for the other commands.
    assert run_json("export", "--run", out, "--out", tmp_path / "again.netsuke")["bytes"] == result["bytes"]
    assert (tmp_path / "again.netsuke").read_bytes() == (out / "compressed.netsuke").read_bytes()
    # The second start finds all that is done; another goal needs another folder.
    made = {name: (out / name).stat().st_mtime_ns for name in ("checkpoint.pt", "split.safetensors")}
    assert main(command(trained, out, "--speedup", "2", "--linear-speedup", "3")) == 0
    assert {name: (out / name).stat().st_mtime_ns for name in made} == made
    assert f"{result['error']:.2f} % after fine-tuning" in capsys.readouterr().out
    assert "choose another --out" in fails(*command(trained, out, "--speedup", "3"))


def test_a_start_goes_on_behind_the_fits(
    trained: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_json: RunJson
) -> None:
    whole = run_json(*command(trained, tmp_path / "whole", "--reconstruction", "3d", "--speedup", "1.5"))

    class Cut(Exception):
        pass

    def cut(*_: Any, **__: Any) -> None:
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr("netsuke.train.low_rank.run", cut)
        with pytest.raises(Cut):
            main(command(trained, tmp_path / "cut", "--reconstruction", "3d", "--speedup", "1.5"))
    monkeypatch.setattr("netsuke.train.split.low_rank", cut)
    resumed = run_json(*command(trained, tmp_path / "cut", "--reconstruction", "3d", "--speedup", "1.5"))
    assert {**resumed, "out": None} == {**whole, "out": None}
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_the_choices_are_those_of_the_method() -> None:
    from netsuke.cli.low_rank import RECONSTRUCTIONS as choices

    assert choices == RECONSTRUCTIONS


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--speedup", "100"), "cannot be reached"),
        (("--speedup", "0.5"), "--speedup 0.5: give a number, 1 or more"),
        (("--speedup", "1"), "ask for a speedup above 1"),
        (("--reconstruction", "cp"), "--reconstruction cp: choose linear or nonlinear or asymmetric or 3d"),
        (("--images", "2"), "as many calibration images"),
        (("--images", "1"), "calibration holds 1 image"),
        (("--weights", "nothing.pt"), "nothing.pt: there is no such file"),
        (("--model", "lenet6"), "no model is named 'lenet6'"),
        (("--set", "share.bits.*=4"), "leave share out"),
        (("--set", "validation=0"), "images must be held out"),
        (("--target-size", "9"), "--target-size"),
    ],
)
def test_bad_values_are_refused(
    more: tuple[str, ...], message: str, trained: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(trained, tmp_path / "out", *more)) == 2
    assert message in capsys.readouterr().err
