"""`netsuke profile`: its JSON, its options, its errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from netsuke.cli import main

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]


def test_the_keys_that_scripts_rely_on(run_json: RunJson) -> None:
    found = run_json("profile", "--model", "adabin_resnet20")
    assert (found["parameters"], found["binary_parameters"]) == (271_262, 267_264)
    assert found["ops"] == found["bops"] / 64 + found["flops"]
    assert found["size_bytes"] == 267_264 // 8 + 4 * (271_262 - 267_264)
    energy = found["energy"]
    assert found["energy_millijoule"] == pytest.approx(energy["compute"] + energy["on_chip"] + energy["off_chip"])
    assert "Horowitz" in energy["source"]
    for key in ("parameters", "binary_parameters", "bops", "flops", "ops"):
        assert sum(layer[key] for layer in found["layers"]) == pytest.approx(found[key]), key
    assert found["editions"]["float32"]["size_bytes"] == found["size_bytes"]
    assert found["input"] == [3, 32, 32]


def test_image_size_and_arguments_reach_the_model(run_json: RunJson) -> None:
    small, large = (run_json("profile", "--model", "resnet20", "--image-size", size) for size in (16, 32))
    flops = [{layer["name"]: layer["flops"] for layer in found["layers"]} for found in (small, large)]
    assert flops[1]["conv1"] == 4 * flops[0]["conv1"] == 32 * 32 * 16 * 27
    assert flops[1]["linear"] == flops[0]["linear"] == 640
    hundred = run_json("profile", "--model", "resnet20", "--set", "num_classes=100")
    assert hundred["parameters"] - large["parameters"] == 65 * 90


def test_the_table_has_a_row_a_layer_and_the_sums(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--model", "adabin_resnet20"]) == 0
    printed = capsys.readouterr().out
    assert "271,262 parameters, 267,264 of them binary" in printed
    for text in ("layer3.2.conv2", "40.108 M", "8/4/8", "Horowitz 2014"):
        assert text in printed


def test_errors(fails: Fails) -> None:
    assert "no model is named" in fails("profile", "--model", "resnet21")
    assert "takes no argument 'depth'" in fails("profile", "--model", "resnet20", "--set", "depth=3")
    assert "write KEY=VALUE" in fails("profile", "--model", "resnet20", "--set", "num_classes")
    assert "no TOML value" in fails("profile", "--model", "resnet20", "--set", "num_classes=[1")
    assert "cannot be made" in fails("profile", "--model", "resnet18_imagenet", "--set", "width=wide")
    assert "--image-size 0" in fails("profile", "--model", "resnet20", "--image-size", 0)
    assert "fails on the example" in fails("profile", "--model", "vgg_small", "--image-size", 40)
