"""`netsuke compress deep-compression`: rounds, goals, and what a second start does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import netsuke
from mnist import small_set
from netsuke.cli import main
from netsuke.data import open_dataset
from netsuke.train import Output, Recipe, run

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """SPEC, and the weights of a network that was trained on it."""
    folder = tmp_path_factory.mktemp("compress")
    spec = small_set(folder, train=160)
    optimizer = {"name": "adamw", "learning_rate": 1e-3}
    recipe = {"model": {"name": "lenet_300_100"}, "epochs": 4, "batch": 16, "validation": 32, "optimizer": optimizer}
    run(Recipe.from_table(recipe), spec, Output(folder / "float"), device="cpu")
    return spec, str(folder / "float" / "model.safetensors")


def command(trained: tuple[str, str], out: Path, *more: str) -> list[str]:
    return [
        "compress", "deep-compression", "--model", "lenet_300_100", "--weights", trained[1], "--data", trained[0],
        "--out", str(out), "--held-out", "32", "--epochs", "2", "--rounds", "3", "--keep", "0.4", "--set", "batch=16",
        "--threads", "1", *more,
    ]  # fmt: skip


def test_a_size_is_reached_and_the_file_runs(
    trained: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert main(command(trained, out, "--target-size", "45000", "--rounds", "6", "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert 1 < len(result["rounds"]) == result["chosen"] < 6
    densities = [r["density"] for r in result["rounds"]]
    assert densities[-1] > 0.4 * densities[-2] > 0  # the last round goes no further than it must
    sizes = [r["bytes"] for r in result["rounds"]]
    assert sizes[-1] <= 45_000 < min([*sizes[:-1], 1_000_000])
    assert (out / "compressed.netsuke").stat().st_size == sizes[-1]
    assert result["held_out"] == 32
    engine = netsuke.load(out / "compressed.netsuke")
    images, labels = next(iter(open_dataset(trained[0], "test").batches(20)))
    assert float((engine(images).argmax(1) == labels).mean()) > 0.5
    for picture in ("sensitivity.svg", "accuracy-against-size.svg"):
        assert b"<svg" in (out / picture).read_bytes()[:2000]
    # The second start finds all that is done.
    made = {path: path.stat().st_mtime_ns for path in out.glob("*/checkpoint.pt")}
    assert main(command(trained, out, "--target-size", "45000", "--rounds", "6")) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/checkpoint.pt")} == made
    assert f"{sizes[-1]:,} bytes" in capsys.readouterr().out


def test_the_smallest_file_within_an_error_is_taken(
    trained: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(command(trained, tmp_path / "out", "--target-error", "100", "--json", "--rounds", "2")) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["chosen"] == 2
    assert result["rounds"][1]["bytes"] < result["rounds"][0]["bytes"]


def test_a_goal_that_is_not_reached_is_said(
    trained: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(command(trained, tmp_path / "out", "--target-size", "100", "--rounds", "1")) == 2
    assert "no round reached the goal" in capsys.readouterr().err
    assert (tmp_path / "out" / "report.json").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--target-error", "1", "--target-size", "9"), "a target error or a target size"),
        (("--keep", "1.5"), "a share between 0 and 1"),
        (("--weights", "nothing.pt"), "nothing.pt: there is no such file"),
        (("--set", "share.bits.*=4"), "leave prune, share, rate and low_rank out"),
        (("--set", "validation=0"), "images must be held out"),
        (("--bits", "20"), "1 to 12"),
    ],
)
def test_bad_values_are_refused(
    more: tuple[str, ...], message: str, trained: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(command(trained, tmp_path / "out", *more)) == 2
    assert message in capsys.readouterr().err


def test_methods_are_named(trained: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["compress", "deep", *command(trained, tmp_path)[2:]]) == 2
    assert "deep-compression" in capsys.readouterr().err
