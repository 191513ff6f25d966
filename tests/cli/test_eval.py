"""`netsuke eval`: the accuracy it prints is the network's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cifar import CHECKPOINTS, IMAGES
from netsuke.data import open_dataset

from .conftest import nearest_centroid

ADABIN, CIFAR10 = CHECKPOINTS["adabin_resnet20"], IMAGES.parent
RunJson = Callable[..., dict[str, Any]]


def expected_accuracy(images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """top1 and top5 of the nearest centroid, by another road: distances to the means in float64."""
    means, _ = nearest_centroid()
    distances = ((images.reshape(len(images), 1, 64) / 255 - means.astype(np.float64)) ** 2).sum(axis=2)
    rank = (distances < distances[np.arange(len(labels)), labels][:, None]).sum(axis=1)
    return 100 * float((rank == 0).mean()), 100 * float((rank < 5).mean())


@pytest.mark.parametrize("options", [["--batch", 7], ["--threads", 2], ["--isa", "scalar"], ["--backend", "reference"]])
def test_accuracy_is_counted_right(linear_digits: Path, run_json: RunJson, options: list[object]) -> None:
    result = run_json("eval", linear_digits, "--data", "digits", *options)
    data = open_dataset("digits")
    top1, top5 = expected_accuracy(*data.read(np.arange(len(data))))
    assert result["n"] == 360
    assert result["top1"] == pytest.approx(top1)
    assert result["top5"] == pytest.approx(top5)
    assert 80 < result["top1"] < result["top5"] <= 100
    assert result["isa"] == ("scalar" if "scalar" in options else result["isa"])


def test_a_limit_takes_evenly_spaced_images(linear_digits: Path, run_json: RunJson) -> None:
    result = run_json("eval", linear_digits, "--data", "digits", "--limit", 90)
    top1, _ = expected_accuracy(*open_dataset("digits").read(np.arange(0, 360, 4)))
    assert (result["n"], result["top1"]) == (90, pytest.approx(top1))


def test_an_image_folder_is_read_as_the_file_says(linear_digits: Path, run_json: RunJson, tmp_path: Path) -> None:
    images, labels = open_dataset("digits").read(np.arange(100))
    for digit in range(10):
        (tmp_path / str(digit)).mkdir()
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image[0]).save(tmp_path / str(label) / f"{number}.png")
    result = run_json("eval", linear_digits, "--data", f"imagefolder:{tmp_path}")
    assert (result["n"], result["top1"]) == (100, pytest.approx(expected_accuracy(images, labels)[0]))


def test_people_get_one_line(linear_digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from netsuke.cli import main

    assert main(["eval", str(linear_digits), "--data", "digits"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("top-1 ")
    assert len(printed.out.splitlines()) == 1
    assert printed.err == ""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published AdaBin ResNet-20 as a file."""
    from netsuke.cli import main

    if not ADABIN.is_file() or not IMAGES.is_file():
        pytest.skip("../shared with the published checkpoint and CIFAR-10 is not here")
    path = tmp_path_factory.mktemp("published") / "r20.netsuke"
    assert main(["export", "--model", "adabin_resnet20", "--weights", str(ADABIN), "--out", str(path)]) == 0
    return path


def test_the_published_checkpoint_has_its_accuracy_in_the_engine(published: Path, run_json: RunJson) -> None:
    result = run_json("eval", published, "--data", f"cifar10:{CIFAR10}")
    assert result["n"] == 1000
    assert result["top1"] == pytest.approx(89.0, abs=0.1001)


def test_the_published_checkpoint_has_its_accuracy_in_torch(published: Path, run_json: RunJson) -> None:
    result = run_json("eval", ADABIN, "--model", "adabin_resnet20", "--data", f"cifar10:{CIFAR10}")
    assert (result["n"], result["backend"]) == (1000, "torch")
    assert result["top1"] == pytest.approx(89.0, abs=0.1001)


def test_the_published_file_is_small_and_always_the_same(published: Path, run_json: RunJson, tmp_path: Path) -> None:
    again = tmp_path / "again.netsuke"
    result = run_json("export", "--model", "adabin_resnet20", "--weights", ADABIN, "--out", again)
    assert again.read_bytes() == published.read_bytes()
    assert result["bytes"] == again.stat().st_size <= 80_000
    assert result["out"] == str(again)
