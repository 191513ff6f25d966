"""What a user gets wrong: each time status 2, one or two lines that say what to do, and no traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netsuke.artifact.contract import Error
from netsuke.cli import main
from netsuke.cli.output import require

from .conftest import netsuke

Fails = Callable[..., str]


def damaged(source: Path, path: Path, how: str) -> Path:
    data = bytearray(source.read_bytes())
    if how == "truncated":
        data = data[:-1]
    elif how == "bit-flipped":
        data[-1] ^= 1
    elif how == "empty":
        data = bytearray()
    elif how == "image":
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path, format="png")
        return path
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("how", ["truncated", "bit-flipped", "empty", "image"])
@pytest.mark.parametrize("command", ["eval", "bench", "info"])
def test_a_damaged_file(linear_digits: Path, tmp_path: Path, fails: Fails, command: str, how: str) -> None:
    path = damaged(linear_digits, tmp_path / "x.netsuke", how)
    message = fails(command, path, *(["--data", "digits"] if command == "eval" else []))
    assert "x.netsuke" in message


@pytest.mark.parametrize("command", ["eval", "bench", "info"])
def test_a_missing_file(tmp_path: Path, fails: Fails, command: str) -> None:
    assert "absent" in fails(command, tmp_path / "absent", *(["--data", "digits"] if command == "eval" else []))
    assert "folder" in fails(command, tmp_path, *(["--data", "digits"] if command == "eval" else []))


def test_a_checkpoint_is_not_a_file(tmp_path: Path, fails: Fails) -> None:
    import torch

    path = tmp_path / "model.th"
    torch.save({"state_dict": {}}, path)
    assert "--model NAME" in fails("eval", path, "--data", "digits")
    assert "PyTorch checkpoint" in fails("info", path)


def test_a_wrong_data_path(linear_digits: Path, fails: Fails) -> None:
    assert "does not exist" in fails("eval", linear_digits, "--data", "cifar10:nowhere")
    assert "cifar10" in fails("eval", linear_digits, "--data", "cifar:nowhere")
    assert "imagefolder:/some/path" in fails("eval", linear_digits, "--data", "/some/path")


def test_data_of_another_shape(linear_digits: Path, fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(bytes(3073))
    assert "1x8x8" in fails("eval", linear_digits, "--data", f"cifar10:{tmp_path}")


def test_data_of_other_classes(linear_digits: Path, fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "only" / "a.png")
    assert "1 classes" in fails("eval", linear_digits, "--data", f"imagefolder:{tmp_path}")


def test_an_image_folder_of_another_size(linear_digits: Path, fails: Fails, tmp_path: Path) -> None:
    for digit in range(10):
        (tmp_path / str(digit)).mkdir()
        Image.fromarray(np.zeros((12, 12), np.uint8)).save(tmp_path / str(digit) / "a.png")
    message = fails("eval", linear_digits, "--data", f"imagefolder:{tmp_path}")
    assert "1x12x12" in message
    assert "Preprocess(..., resize=8, crop=8)" in message


def test_an_image_folder_with_what_is_no_image(linear_digits: Path, fails: Fails, tmp_path: Path) -> None:
    for digit in range(10):
        (tmp_path / str(digit)).mkdir()
        (tmp_path / str(digit) / "a.png").write_text("no image")
    assert "a.png is not an image" in fails("eval", linear_digits, "--data", f"imagefolder:{tmp_path}")


def test_an_unknown_model(tmp_path: Path, fails: Fails) -> None:
    message = fails("export", "--model", "adabin_resnet2", "--out", tmp_path / "x.netsuke")
    assert "adabin_resnet20" in message
    assert not (tmp_path / "x.netsuke").exists()


def test_weights_that_are_missing_or_of_another_model(tmp_path: Path, fails: Fails) -> None:
    import torch

    out = tmp_path / "x.netsuke"
    assert "absent.th" in fails("export", "--model", "resnet20", "--weights", tmp_path / "absent.th", "--out", out)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.th")
    assert "other.th" in fails("export", "--model", "resnet20", "--weights", tmp_path / "other.th", "--out", out)
    (tmp_path / "torn.th").write_bytes((tmp_path / "other.th").read_bytes()[:100])
    assert "torn.th" in fails("export", "--model", "resnet20", "--weights", tmp_path / "torn.th", "--out", out)
    assert not out.exists()


@pytest.mark.parametrize("command", [["export", "--model", "resnet20"], ["demo"]])
def test_a_place_that_cannot_be_written(
    tmp_path: Path, fails: Fails, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object) -> None:
        pytest.fail("the work began all the same")

    monkeypatch.setattr("netsuke.cli.export.load", work)
    monkeypatch.setattr("netsuke.cli.demo.run", work)
    assert "no/such" in fails(*command, "--out", tmp_path / "no/such/x.netsuke")
    assert "is a folder" in fails(*command, "--out", tmp_path)
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    assert "cannot be written" in fails(*command, "--out", tmp_path / "x.netsuke")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["evall"], "eval"),
        (["info"], "file"),
        (["info", "x", "--jsn"], "--json"),
        (["eval", "x"], "--data"),
        (["eval", "x", "--data", "digits", "--threads", "0"], "--threads 0: give a whole number, 1 or more"),
        (["eval", "x", "--data", "digits", "--limit", "few"], "--limit few: give a whole number, 1 or more"),
        (["eval", "x", "--data", "digits", "--backend", "gpu"], "--backend gpu: choose engine or reference"),
        (["bench", "x", "--seconds", "nan"], "--seconds nan: give a number, 0.01 or more"),
        (["bench", "x", "--against", "tensorrt"], "onnxruntime_f32"),
    ],
)
def test_a_mistyped_command(fails: Fails, arguments: list[str], says: str) -> None:
    assert says in fails(*arguments)


def test_a_missing_package_is_named_with_a_remedy_that_works() -> None:
    with pytest.raises(Error, match=r"(?s)pip install no_such_package,.*pip install '\.\[train\]'"):
        require("train", "no_such_package")


def test_options_that_do_not_go_together(linear_digits: Path, fails: Fails) -> None:
    assert "--isa" in fails("eval", linear_digits, "--data", "digits", "--model", "resnet20", "--isa", "scalar")
    assert "--isa" in fails("eval", linear_digits, "--data", "digits", "--backend", "reference", "--isa", "scalar")
    assert "scalar" in fails("eval", linear_digits, "--data", "digits", "--isa", "mmx")


def test_an_error_in_a_process_of_its_own(linear_digits: Path, tmp_path: Path) -> None:
    path = damaged(linear_digits, tmp_path / "x.netsuke", "truncated")
    ran = netsuke("eval", path, "--data", "digits", "--json")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.splitlines()) <= 2


def test_no_arguments_is_a_call_for_help() -> None:
    ran = netsuke()
    assert ran.returncode == 0
    assert all(command in ran.stdout for command in ("demo", "models", "export", "eval", "bench", "info"))


@pytest.mark.parametrize("arguments", [["-h"], ["info", "-h"]])
def test_a_short_call_for_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert "--help" in capsys.readouterr().out


def test_an_interrupt_leaves_no_traceback(
    linear_digits: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("netsuke.cli.info.collect", interrupted)
    assert main(["info", str(linear_digits)]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_a_closed_pipe_leaves_no_traceback(linear_digits: Path) -> None:
    command = [sys.executable, "-m", "netsuke", "info", str(linear_digits), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() != 0
    assert said == ""
