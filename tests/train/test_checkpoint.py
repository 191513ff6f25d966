"""Checkpoints and the log: whole or not there, whatever happens to the process, the disk or the file."""

from __future__ import annotations

import os
import pickle
import resource
from pathlib import Path

import pytest
import torch

from netsuke import Error
from netsuke.train import checkpoint
from netsuke.train.log import Log

STATE = {"step": 3, "model": {"weight": torch.arange(1000.0)}, "row": {"loss": 0.5, "validation_accuracy": None}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, STATE)
    return path


def test_what_was_saved_is_loaded(path: Path) -> None:
    state = checkpoint.load(path)
    assert torch.equal(state.pop("model")["weight"], STATE["model"]["weight"])  # type: ignore[index]
    assert state == {"format": checkpoint.FORMAT, "step": 3, "row": STATE["row"]}


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "text"])
def test_a_damaged_checkpoint_is_named_with_what_to_do(path: Path, how: str) -> None:
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    path.write_bytes({"cut": data[:-100], "empty": b"", "flipped": bytes(flipped), "text": b"weights"}[how])
    if how == "flipped":  # inside of the numbers themselves: the archive's checksum knows
        assert data[len(data) // 2 : len(data) // 2 + 4] in STATE["model"]["weight"].numpy().tobytes()  # type: ignore[index]
    with pytest.raises(Error, match=r"checkpoint\.pt is damaged, or no checkpoint") as caught:
        checkpoint.load(path)
    assert "remove it" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2


def test_a_checkpoint_of_something_else(path: Path) -> None:
    torch.save({"state_dict": {}}, path)
    with pytest.raises(Error, match=r"checkpoint\.pt is a checkpoint of something else"):
        checkpoint.load(path)


def test_nothing_in_a_checkpoint_is_executed(path: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"format": checkpoint.FORMAT, "model": Bomb()}, path)
    with pytest.raises(Error, match="no checkpoint"):
        checkpoint.load(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(Error, match="no checkpoint"):
        checkpoint.load(path)
    assert not (tmp_path / "executed").exists()


def test_a_full_disk_leaves_the_checkpoint_before(path: Path) -> None:
    """The limit on the size of a file stands for the end of the disk: writing fails half way."""
    before, usual = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5000, usual[1]))
    try:
        with pytest.raises(Error) as caught:
            checkpoint.save(path, {"model": {"weight": torch.zeros(100_000)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert str(caught.value) == f"cannot write {path}: File too large. Choose another place."
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_an_error_of_the_disk_is_told_as_it_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Error, match=r"cannot write .*checkpoint\.pt: No space left on device"):
        checkpoint.save(path, STATE)
    assert path.read_bytes() == before


# ----------------------------------------------------------------------------------------------- the log
def rows(log: Log) -> list[list[str]]:
    header, *lines = log.path.read_text().splitlines()
    assert header.split(",") == list(log.columns)
    return [line.split(",") for line in lines]


def test_the_log_goes_on_where_the_checkpoint_stands(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.csv")
    log.begin(0, 1)
    for epoch in (1, 2, 3):
        log.add({"step": 10 * epoch, "epoch": epoch, "loss": 0.5, "validation_accuracy": None})
    with log.path.open("a") as file:
        file.write("40,4,0.")  # a kill in the middle of a row
    log.begin(25, 3)  # the checkpoint is older than the third row
    log.add({"step": 30, "epoch": 3, "loss": 0.25})
    step, epoch, loss, resumed = (log.columns.index(name) for name in ("step", "epoch", "loss", "resumed"))
    assert [(row[step], row[epoch], row[loss], row[resumed]) for row in rows(log)] == [
        ("10", "1", "0.5", ""),
        ("20", "2", "0.5", ""),
        ("25", "3", "", "1"),
        ("30", "3", "0.25", ""),
    ]


def test_a_run_from_the_beginning_begins_the_log(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.csv")
    log.path.write_text("something else\n1,2,3\n")
    log.begin(0, 1)
    assert rows(log) == []
