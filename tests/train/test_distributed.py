"""Two processes on loopback, by torchrun, against one process: DistributedDataParallel over gloo, in float64.

In float32 the comparison would prove nothing: where rounding flips a bit, binary training goes another way.
"""

from __future__ import annotations

import csv
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from netsuke import Error
from netsuke.train import checkpoint, make_fabric

WORKER = Path(__file__).with_name("distributed_worker.py")


def run(folder: Path, processes: int, steps: int) -> Path:
    folder.mkdir()
    if processes == 1:
        runpy.run_path(str(WORKER))["work"](folder, steps)
        return folder
    launcher = [
        "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", str(processes),
        "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, *launcher, str(WORKER), str(folder), str(steps)],
        env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return folder


def losses(folder: Path, processes: int) -> list[float]:
    """The mean over the processes, step by step."""
    each = [json.loads((folder / f"losses-{rank}.json").read_text()) for rank in range(processes)]
    assert all(own.keys() == each[0].keys() for own in each)
    return [sum(own[step] for own in each) / processes for step in sorted(each[0], key=int)]


def log(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "run" / "log.csv").open()))


def close(a: dict[str, Any], b: dict[str, Any], tolerance: float = 1e-6) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[n], b[n], rtol=tolerance, atol=tolerance) for n in a)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    base = tmp_path_factory.mktemp("distributed")
    return {processes: run(base / str(processes), processes, 20) for processes in (1, 2)}


def test_two_processes_have_the_losses_of_one(folders: dict[int, Path]) -> None:
    one, two = losses(folders[1], 1), losses(folders[2], 2)
    assert len(one) == 20
    assert max(one) - min(one) > 0.01, "the network was to learn"
    assert two == pytest.approx(one, rel=1e-6)


def test_both_processes_end_with_the_weights_of_one(folders: dict[int, Path]) -> None:
    (one, first, second) = (
        torch.load(folders[n] / f"state-{rank}.pt", weights_only=True) for n, rank in ((1, 0), (2, 0), (2, 1))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert close(one, first)


def test_one_process_writes_and_its_log_is_of_all(folders: dict[int, Path]) -> None:
    one, two = log(folders[1]), log(folders[2])
    exact = ("step", "epoch", "learning_rate", "train_accuracy", "validation_accuracy", "resumed")
    assert [[row[key] for key in exact] for row in two] == [[row[key] for key in exact] for row in one]
    assert [row["resumed"] for row in two] == ["", "", "1", "", ""]
    assert [float(row["loss"]) for row in two if row["loss"]] == pytest.approx(
        [float(row["loss"]) for row in one if row["loss"]], rel=1e-5
    )
    states = [checkpoint.load(folders[n] / "run" / "checkpoint.pt") for n in (1, 2)]
    assert close(states[0]["model"], states[1]["model"])
    assert states[0]["position"]["step"] == states[1]["position"]["step"] == 20


def test_running_statistics_are_the_mean_over_the_processes(folders: dict[int, Path]) -> None:
    one = torch.load(folders[1] / "moving-0.pt", weights_only=True)
    first, second = (torch.load(folders[2] / f"moving-{rank}.pt", weights_only=True) for rank in range(2))
    name = "0.running_mean"
    assert torch.equal(first[name], second[name])
    assert torch.allclose(first[name], one[name], rtol=0, atol=1e-12)
    assert not torch.allclose(first[name], torch.zeros(3, dtype=torch.float64))
    saved = checkpoint.load(folders[2] / "moving" / "checkpoint.pt")["model"]
    assert torch.equal(saved[name], first[name])


def test_processes_that_nobody_joins_do_not_train_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with pytest.raises(Error, match="start it with torchrun"):
        make_fabric("cpu")
