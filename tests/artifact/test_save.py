"""Saving: the old file or the new one, never a part."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import graphs
from netsuke.artifact import Error, encode, read, save

OLD, NEW = graphs.every_operator(0), graphs.every_operator(1)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "a.netsuke"
    save(OLD, path)
    return path


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


def test_saves(old: Path) -> None:
    save(NEW, old)
    assert old.read_bytes() == encode(NEW)
    assert names(old) == ["a.netsuke"]


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_a_failure_leaves_the_old_file(old: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(Error, match="cannot write .*a.netsuke: No space left on device. Choose another place."):
        save(NEW, old)
    assert old.read_bytes() == encode(OLD)
    assert names(old) == ["a.netsuke"]


def test_an_interrupt_leaves_the_old_file(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(NEW, old)
    assert old.read_bytes() == encode(OLD)
    assert names(old) == ["a.netsuke"]


def test_a_process_killed_while_it_writes_leaves_the_old_file(old: Path) -> None:
    program = """if True:
        import os, signal, sys, graphs
        from netsuke.artifact import save
        os.fsync = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        save(graphs.every_operator(1), sys.argv[1])
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", program, str(old)], env=environment, timeout=60, check=False)
    assert result.returncode == -signal.SIGKILL
    assert read(old).nodes[0].bias.tolist() == OLD.nodes[0].bias.tolist()
    save(NEW, old)  # what the dead process left behind is not in the way
    assert old.read_bytes() == encode(NEW)


def test_the_file_and_then_the_folder_are_synced(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync, rename = os.fsync, os.replace

    def record(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def record_rename(source: Path, target: Path) -> None:
        synced.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.setattr(os, "replace", record_rename)
    save(NEW, old)
    assert Path(synced[0]).parent == old.parent.resolve()
    assert synced[1:] == ["rename", str(old.parent.resolve())]


def test_a_graph_that_cannot_be_written_leaves_the_old_file(old: Path) -> None:
    wrong = graphs.every_operator()
    wrong.outputs = []
    with pytest.raises(Error, match="outputs"):
        save(wrong, old)
    assert old.read_bytes() == encode(OLD)
    assert names(old) == ["a.netsuke"]


def test_a_link_keeps_pointing(old: Path) -> None:
    link = old.with_name("link")
    link.symlink_to("a.netsuke")
    save(NEW, link)
    assert link.is_symlink()
    assert old.read_bytes() == encode(NEW)


def test_permissions_are_those_of_any_new_file(old: Path) -> None:
    other = old.with_name("other")
    other.touch()
    assert old.stat().st_mode == other.stat().st_mode


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    for place, words in {
        tmp_path / "no" / "folder.netsuke": "No such file or directory",
        tmp_path: "Is a directory|Device or resource busy|cannot write",
        Path("/proc/a.netsuke"): "cannot write /proc/a.netsuke",
    }.items():
        with pytest.raises(Error, match=words) as caught:
            save(NEW, place)
        assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
