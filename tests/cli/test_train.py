"""`netsuke train`, on a few random images: what it prints, what it writes, and that the rest of netsuke takes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netsuke import artifact
from netsuke.artifact.graph import Int8Conv2d
from netsuke.cli import main
from netsuke.train import read_recipe

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """60 images in CIFAR-10's binary format: the brighter, the higher the label."""
    folder = tmp_path / "cifar"
    folder.mkdir()
    random = np.random.RandomState(0)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        labels = np.arange(10, dtype=np.uint8)[:, None]
        pixels = 25 * labels + random.randint(0, 25, (10, 3072)).astype(np.uint8)
        np.concatenate([labels, pixels], axis=1).astype(np.uint8).tofile(folder / name)
    return folder


def arguments(images: Path, out: Path) -> list[str]:
    return [
        "train", "adabin-cifar10-resnet20", "--data", f"cifar10:{images}", "--out", str(out), "--epochs", "2",
        "--set", "batch=10", "--set", "augment.crop_padding=0", "--device", "cpu", "--threads", "1",
    ]  # fmt: skip


def test_a_run_is_trained_exported_and_evaluated(images: Path, tmp_path: Path, run_json: RunJson) -> None:
    out = tmp_path / "run"
    result = run_json(*arguments(images, out), "--set", "validation=10", "--tensorboard")
    weights = out / "model.safetensors"
    assert result["out"] == str(weights)
    assert result["bytes"] == weights.stat().st_size
    assert (result["epoch"], result["step"]) == (2, 8)
    assert 0 <= result["validation_accuracy"] <= 100
    assert {path.name for path in out.iterdir()} == {
        "checkpoint.pt", "log.csv", "model.safetensors", "recipe.toml", "tensorboard",
    }  # fmt: skip
    assert any((out / "tensorboard").glob("events*"))
    ran = read_recipe(str(out / "recipe.toml"))
    assert (ran.epochs, ran.batch, ran.validation) == (2, 10, 10)
    exported = run_json("export", "--model", "adabin_resnet20", "--weights", weights, "--out", tmp_path / "x.netsuke")
    assert exported["bytes"] < 60_000
    assert run_json("eval", tmp_path / "x.netsuke", "--data", f"cifar10:{images}")["n"] == 10


def test_quantized_layers_are_trained_and_exported_from_the_run(
    images: Path, tmp_path: Path, run_json: RunJson, fails: Fails
) -> None:
    """The second half of the run begins from the first's weights, and from its own checkpoint when started again."""
    out, more = tmp_path / "run", ("--set", "quantize.layers=int8,linear=int4", "--set", "model.arguments.center=paper")
    run_json(*arguments(images, out), *more)
    file = tmp_path / "x.netsuke"
    exported = run_json("export", "--run", out, "--out", file)
    assert (exported["model"], exported["float_layers"]) == ("adabin_resnet20", "float32")
    nodes = artifact.read(file).nodes
    assert {node.name: node.bits for node in nodes if isinstance(node, Int8Conv2d)} == {"conv1": 8, "linear": 4}
    assert run_json("eval", file, "--data", f"cifar10:{images}")["n"] == 10
    assert run_json(*arguments(images, out), *more)["step"] == 10
    assert "give --model NAME" in fails("export", "--run", out, "--model", "resnet20", "--out", file)
    assert "give --model NAME" in fails("export", "--out", file)
    assert "is no training run" in fails("export", "--run", tmp_path, "--out", file)
    (out / "model.safetensors").unlink()
    assert "has no weights yet" in fails("export", "--run", out, "--out", file)
    refused = fails(*arguments(images, tmp_path / "other"), "--set", "quantize.layers=int3")
    assert "quantize.layers is int3: choose float32 or int8 or int4" in refused


def test_the_recipe_says_what_the_run_becomes(images: Path, tmp_path: Path, run_json: RunJson, fails: Fails) -> None:
    """A ternary run, in 8 bits and in fixed point, without a word of it on export's own command line."""
    out, file, spec = tmp_path / "run", tmp_path / "x.netsuke", f"cifar10:{images}"
    command = ["train", "ttq-cifar10-resnet32", "--data", spec, "--out", out, "--epochs", 1, "--threads", 1]
    plain = ["model.name=resnet20", "batch=10", "loss.kind=labels", "loss.label_weight=0.0", "teacher=[]"]
    run_json(*command, *(word for change in plain for word in ("--set", change)))
    made = run_json("export", "--run", out, "--out", file, "--calibration", spec)
    assert made["float_layers"] == "int8,conv1=float32,linear=float32"
    coded = [node for node in artifact.read(file).nodes if isinstance(node, Int8Conv2d)]
    assert len(coded) == 18
    assert all(len(np.unique(node.weight)) == 3 for node in coded)
    assert made["calibration"]["n"] == 50
    assert "needs --calibration" in fails("export", "--run", out, "--out", file)
    assert run_json("export", "--run", out, "--out", file, "--float-layers", "float32")["calibration"] is None
    recipe = (out / "recipe.toml").read_text()
    (out / "recipe.toml").write_text(
        recipe.replace('float_layers = "int8,conv1=float32,linear=float32"', 'float_layers = ""').replace(
            'fixed_point = ""', 'fixed_point = "8,linear=4"'
        )
    )
    made = run_json("export", "--run", out, "--out", file, "--calibration", spec)
    assert made["fixed_point"] == "fixed point, weights of 8 bits, linear 4 bits, data of 8, dynamic"
    assert run_json("info", file)["integers_only"] is True
    assert "export takes one of" in fails(*command, "--set", "export.fixed_point=8,linear=4")
    refused = fails(*command, "--set", 'export.float_layers=""', "--set", "export.fixed_point=7,linear=4")
    assert "export: 7,linear=4: give the bits of weights" in refused


def test_the_test_split_is_not_opened(images: Path, tmp_path: Path, run_json: RunJson) -> None:
    (images / "test_batch.bin").unlink()
    assert run_json(*arguments(images, tmp_path / "run"))["validation_accuracy"] is None


def test_people_are_told_each_epoch_and_the_end(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(arguments(images, out)) == 0
    printed = capsys.readouterr()
    assert [line.split(":")[0] for line in printed.err.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert printed.out.startswith(f"wrote {out / 'model.safetensors'}: ")
    assert len(printed.out.splitlines()) == 1
    assert main([*arguments(images, out), "--json"]) == 0  # over already: told again, not trained again
    printed = capsys.readouterr()
    assert printed.err == ""
    assert json.loads(printed.out)["epoch"] == 2


def test_what_cannot_be_trained(images: Path, tmp_path: Path, fails: Fails) -> None:
    usual = arguments(images, tmp_path / "run")
    assert "Close to it: adabin-cifar10-resnet20" in fails(
        *("adabin-cifar10-resnet21" if a == usual[1] else a for a in usual)
    )
    assert "unknown data set kind" in fails(*("cifr10:x" if a.startswith("cifar10:") else a for a in usual))
    assert "--set optimizer: write KEY=VALUE" in fails(*usual, "--set", "optimizer")
    assert "--device tpu: choose auto or cpu or cuda" in fails(*usual, "--device", "tpu")
    assert "--checkpoint-minutes -1: give a number" in fails(*usual, "--checkpoint-minutes", "-1")
    assert "adabin_resnet20 takes 3x32x32 images, digits train has 1x8x8" in fails(
        *("digits" if a.startswith("cifar10:") else a for a in usual)
    )
    assert not (tmp_path / "run").exists()


def test_a_place_that_cannot_be_written(images: Path, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "file").write_text("")
    assert "is a file, or lies below one: choose another --out" in fails(*arguments(images, tmp_path / "file"))
    assert "is a file, or lies below one: choose another --out" in fails(*arguments(images, tmp_path / "file" / "run"))
