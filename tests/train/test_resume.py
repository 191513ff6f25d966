"""A run that is killed, at any moment, goes on as if it had not been."""

from __future__ import annotations

import csv
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from netsuke.cli import main

EPOCHS, BATCHES = 3, 6


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 random images in CIFAR-10's binary format."""
    folder = tmp_path_factory.mktemp("cifar")
    source = np.random.RandomState(0)
    for i in range(1, 6):
        records = source.randint(0, 256, (24, 3073)).astype(np.uint8)
        records[:, 0] %= 10
        records.tofile(folder / f"data_batch_{i}.bin")
    return folder


def command(images: Path, out: Path, *changes: str, epochs: int = EPOCHS) -> list[str]:
    values = ["batch=16", "validation=20", "optimizer.learning_rate=0.01", *changes]
    sets = [word for value in values for word in ("--set", value)]
    return [
        "train", "adabin-cifar10-resnet20", "--data", f"cifar10:{images}", "--out", str(out), "--epochs", str(epochs),
        "--threads", "1", "--device", "cpu", "--checkpoint-steps", "1", *sets,
    ]  # fmt: skip


def run_and_kill(arguments: list[str], out: Path, wait: float) -> bool:
    """Start the command in a process of its own and kill it `wait` seconds after it has written a checkpoint. Returns
    whether it was still running."""
    before = written(out)
    process = subprocess.Popen(
        [sys.executable, "-m", "netsuke", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while written(out) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(wait)
        running = process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return running


def written(out: Path) -> int:
    """When the checkpoint was written; 0 if there is none."""
    path = out / "checkpoint.pt"
    return path.stat().st_mtime_ns if path.exists() else 0


def finish(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--json"]) == 0, capsys.readouterr().err
    capsys.readouterr()


def log(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "log.csv").open()))


def same(a: Path, b: Path) -> bool:
    one, other = (load_file(out / "model.safetensors") for out in (a, b))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_and_kill(command(images, killed), killed, wait=0.0)
    finish(command(images, killed), capsys)
    finish(command(images, whole), capsys)
    assert same(whole, killed)
    marks = [row for row in log(killed) if row["resumed"]]
    assert len(marks) == 1
    assert int(marks[0]["step"]) % BATCHES, "it was to be killed within an epoch"
    plain = [[row[k] for k in ("step", "epoch", "loss", "train_accuracy", "validation_accuracy")] for row in log(whole)]
    kept = [row for row in log(killed) if not row["resumed"]]
    assert [
        [row[k] for k in ("step", "epoch", "loss", "train_accuracy", "validation_accuracy")] for row in kept
    ] == plain
    assert [row[0] for row in plain] == [str(BATCHES * (i + 1)) for i in range(EPOCHS)]


@pytest.mark.slow
def test_ten_kills_at_random_moments(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Teacher, fixed views, two stages, clipping and AdamW: all that a checkpoint must hold."""
    random.seed(time.time_ns())
    teacher = tmp_path / "teacher.pt"
    torch.save(torch_model().state_dict(), teacher)
    changes = [
        'loss.kind="soft"',
        f'teacher=[{{ model = "resnet20", weights = "{teacher}" }}]',
        "augment.views=2",
        "stage=[{ share = 1, weight_decay = 0.01, binary_weights = false }, { share = 1, weight_decay = 0.0 }]",
        "clip_gradient=1",
        'optimizer.name="adamw"',
        "schedule.warmup=0.1",
    ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(command(images, whole, *changes, epochs=40), capsys)
    for _ in range(10):
        assert run_and_kill(command(images, killed, *changes, epochs=40), killed, wait=random.uniform(0, 0.5))
    finish(command(images, killed, *changes, epochs=40), capsys)
    assert same(whole, killed)


def torch_model() -> torch.nn.Module:
    from netsuke.models import create_model

    return create_model("resnet20", seed=5)


def test_a_run_goes_on_only_as_what_it_was(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    finish(command(images, out, epochs=1), capsys)
    before = (out / "checkpoint.pt").read_bytes(), (out / "log.csv").read_text()
    assert main(command(images, out, "batch=20", epochs=1)) == 2
    assert "holds a run of another recipe (there: batch = 16; here: batch = 20)" in capsys.readouterr().err
    finish(command(images, out, epochs=1), capsys)  # it is over: nothing is done again
    assert before == ((out / "checkpoint.pt").read_bytes(), (out / "log.csv").read_text())
    (out / "checkpoint.pt").write_bytes(before[0][:1000])
    assert main(command(images, out, epochs=1)) == 2
    message = capsys.readouterr().err
    assert "checkpoint.pt is damaged" in message
    assert len(message.splitlines()) <= 2
    assert (out / "checkpoint.pt").read_bytes() == before[0][:1000]


def test_other_data_than_it_was_begun_with(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, fewer = tmp_path / "out", tmp_path / "fewer"
    finish(command(images, out, epochs=1), capsys)
    fewer.mkdir()
    for path in images.iterdir():
        (fewer / path.name).write_bytes(path.read_bytes()[: 3073 * 23])
    assert main(command(fewer, out, epochs=1)) == 2
    assert "was trained on 100 images" in capsys.readouterr().err
    with (fewer / "data_batch_1.bin").open("ab") as file:
        file.write(b"cut short")
    assert main(command(fewer, out, epochs=1)) == 2
    assert "data_batch_1.bin has" in capsys.readouterr().err


def test_recipes_that_cannot_run(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for change, says in (
        ("batch=512", "fewer than one batch of 512"),
        ("model.name=resnet21", "resnet20"),
        ("model.arguments.depth=3", "takes no argument 'depth'"),
        ("validation=120", "cannot hold out 120"),
        ("model.weights=absent.pt", "absent.pt"),
        ("augment.random_resized_crop={ size = 32 }", "random resized crop is for files"),
    ):
        assert main(command(images, tmp_path / "out", change)) == 2
        assert says in capsys.readouterr().err
    teacher = ["loss.kind=soft", 'teacher=[{ model = "resnet20" }]']
    assert main(command(images, tmp_path / "other", *teacher)) == 2
    assert "--set teacher.0.weights=FILE" in capsys.readouterr().err
