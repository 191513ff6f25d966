"""`netsuke export --float-layers int8`: what it writes, what it says, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netsuke import artifact, engine
from netsuke.artifact.graph import BinaryConv2d, Conv2d, Int8Conv2d
from netsuke.cli import main

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
INT8 = ("--float-layers", "int8")


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set of 20 training images, all noise; a test split that cannot be read."""
    folder = tmp_path_factory.mktemp("cifar10")
    rng = np.random.default_rng(0)
    for part in range(1, 6):
        records = rng.integers(0, 256, (4, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(4) + part % 2
        (folder / f"data_batch_{part}.bin").write_bytes(records.tobytes())
    (folder / "test_batch.bin").write_bytes(b"torn")
    return f"cifar10:{folder}"


def test_int8_and_what_it_costs(tmp_path: Path, cifar10: str, run_json: RunJson) -> None:
    files = {kind: tmp_path / kind for kind in ("float32", "int8")}
    plain = run_json("export", "--model", "adabin_resnet20", "--out", files["float32"])
    assert (plain["float_layers"], plain["calibration"]) == ("float32", None)
    result = run_json("export", "--model", "adabin_resnet20", "--out", files["int8"], *INT8, "--calibration", cifar10)
    sizes = {kind: file.stat().st_size for kind, file in files.items()}
    cost = result["calibration"]
    assert (result["float_layers"], result["bytes"]) == ("int8", sizes["int8"])
    assert (cost["bytes_float32"], cost["bytes_int8"]) == (sizes["float32"], sizes["int8"])
    assert (cost["data"], cost["name"], cost["n"]) == (cifar10, "cifar10 train", 20)
    assert cost["backend"] == ("engine" if engine.available_isas() else "reference")

    kinds = [type(node) for node in artifact.read(files["int8"]).nodes]
    assert (kinds.count(Int8Conv2d), kinds.count(BinaryConv2d), kinds.count(Conv2d)) == (2, 18, 0)
    records = b"".join((Path(cifar10.partition(":")[2]) / f"data_batch_{n}.bin").read_bytes() for n in range(1, 6))
    data = np.frombuffer(records, np.uint8).reshape(20, 3073)
    images, labels = data[:, 1:].reshape(20, 3, 32, 32), data[:, 0]
    before, after = (np.asarray(artifact.Reference(artifact.read(f))(images)).argmax(1) for f in files.values())
    assert cost["top1_float32"] == pytest.approx(100 * (before == labels).mean())
    assert cost["top1_int8"] == pytest.approx(100 * (after == labels).mean())
    assert cost["top1_difference"] == pytest.approx(cost["top1_int8"] - cost["top1_float32"])
    assert cost["equal_top1"] == pytest.approx(100 * (before == after).mean())


def test_the_number_of_images(tmp_path: Path, cifar10: str, run_json: RunJson) -> None:
    out = tmp_path / "x.netsuke"
    options = ("--calibration", cifar10, "--calibration-images", "6")
    assert run_json("export", "--model", "adabin_resnet20", "--out", out, *INT8, *options)["calibration"]["n"] == 6


def test_the_table_for_people(tmp_path: Path, cifar10: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.netsuke"
    command = ["export", "--model", "adabin_resnet20", "--out", str(out), *INT8, "--calibration", cifar10]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert f"{out.stat().st_size:,} bytes" in printed.splitlines()[0]
    assert all(words in printed for words in ("float32", "int8", "of these 20 images of cifar10 train", "netsuke eval"))


def image_folder(folder: Path, classes: int) -> str:
    rng = np.random.default_rng(0)
    for label in range(classes):
        (folder / f"class{label}").mkdir()
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"class{label}" / "a.png")
    return f"imagefolder:{folder}"


def test_a_folder_has_no_training_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three classes for a network of ten: both files are compared with one another only."""
    spec, out = image_folder(tmp_path, 3), tmp_path / "x.netsuke"
    assert main(["export", "--model", "adabin_resnet20", "--out", str(out), *INT8, "--calibration", spec]) == 0
    printed = capsys.readouterr()
    assert "has no training split" in printed.err
    assert "imagefolder has 3 classes, adabin_resnet20 10: no accuracy" in printed.err
    assert "of these 3 images" in printed.out


def test_refused(tmp_path: Path, cifar10: str, fails: Fails) -> None:
    out = tmp_path / "x.netsuke"
    command = ("export", "--model", "resnet20", "--out", out)
    assert "needs --calibration SPEC" in fails(*command, *INT8)
    assert "--calibration is for --float-layers int8 or int4" in fails(*command, "--calibration", cifar10)
    assert "choose float32 or int8 or int4" in fails(*command, "--float-layers", "int2")
    assert "choose float32 or int8 or int4" in fails(*command, "--float-layers", "int8,head=int2")
    assert "give a whole number" in fails(*command, *INT8, "--calibration", cifar10, "--calibration-images", "0")
    fixed = (*command, "--fixed-point", "8", "--calibration", cifar10)
    assert "--data-bits 16: choose 4 or 8" in fails(*fixed, "--data-bits", "16")
    assert "give the bits of weights, 4 or 8" in fails(*command, "--fixed-point", "16", "--calibration", cifar10)
    assert not out.exists()


def test_images_that_do_not_fit_are_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object, **__: object) -> None:
        pytest.fail("the work began all the same")

    monkeypatch.setattr("netsuke.cli.export.write_network", work)
    command = ["export", "--model", "resnet20", "--out", str(tmp_path / "x"), *INT8, "--calibration"]
    for spec, words in (("digits", "resnet20 takes 3x32x32 images, digits train has 1x8x8"), ("cifar10:none", "none")):
        assert main([*command, spec]) == 2
        assert words in capsys.readouterr().err
