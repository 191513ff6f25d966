"""Fixed views, and teachers that are asked for each view once."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from netsuke import Error, Preprocess
from netsuke.data.dataset import ArrayDataset
from netsuke.train import cached_teachers
from netsuke.train.augment import Augment
from netsuke.train.cached_teachers import CachedTeachers
from netsuke.train.teachers import Teachers
from netsuke.train.views import FixedViews

IMAGES, VIEWS = 20, 3
ALL = np.arange(IMAGES)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)).eval()


def dataset(seed: int = 0) -> ArrayDataset:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (IMAGES, 1, 5, 5), np.uint8)
    return ArrayDataset("noise", ("a", "b", "c"), pixels, random.integers(0, 3, IMAGES))


def view(number: int) -> torch.Tensor:
    """Images of one view, all of them."""
    return torch.randn(IMAGES, 1, 5, 5, generator=torch.Generator().manual_seed(number))


class Counted:
    """Teachers of these networks that count the images they were asked about."""

    def __init__(self, *networks: nn.Module, **settings: Any) -> None:
        self.teachers = Teachers(networks, **settings)
        self.asked = 0
        for network in {id(n): n for n in self.teachers.networks}.values():
            network.register_forward_hook(self._count)

    def _count(self, _: nn.Module, inputs: tuple[torch.Tensor], __: torch.Tensor) -> None:
        self.asked += len(inputs[0])


def cached(
    counted: Counted, folder: Path, settings: str = "crop 4", data: int = 0, views: int = 0, dtype: str = "float32"
) -> CachedTeachers:
    """data, views: seeds."""
    drawn = FixedViews(IMAGES, VIEWS, views)
    return CachedTeachers(counted.teachers, folder, dataset(data), drawn, settings, dtype)


# ------------------------------------------------------------------------------------------- fixed views
def test_a_view_is_a_function_of_image_view_and_seed() -> None:
    augment = Augment(Preprocess((0.5,), (0.5,)), crop_padding=2, flip=True)
    views = FixedViews(IMAGES, VIEWS, seed=1)
    whole = {v: views.draws(augment, ALL, v) for v in range(VIEWS)}
    again = FixedViews(IMAGES, VIEWS, seed=1)
    some = np.array([7, 2, 19, 7])
    for v in (2, 0, 1):
        assert torch.equal(again.draws(augment, some, v), whole[v][some])
        assert np.array_equal(again.seeds(some, v), views.seeds(ALL, v)[some])
    other = FixedViews(IMAGES, VIEWS, seed=2)
    for a, b in ((whole[0], whole[1]), (whole[0], other.draws(augment, ALL, 0))):
        assert not bool((a == b).any())
    assert not (views.seeds(ALL, 0) == views.seeds(ALL, 1)).any()
    assert len(set(views.seeds(ALL, 0))) == IMAGES
    assert views.seeds(ALL, 0).min() >= 0


def test_views_take_turns() -> None:
    views = FixedViews(IMAGES, VIEWS, seed=0)
    assert [views.at(epoch) for epoch in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    for images, count in ((0, 1), (1, 0)):
        with pytest.raises(Error, match="at least 1"):
            FixedViews(images, count, 0)


# ---------------------------------------------------------------------------------------------- the cache
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_each_view_is_asked_for_once(tmp_path: Path, dtype: str) -> None:
    counted = Counted(network())
    cache = cached(counted, tmp_path, dtype=dtype)
    first = {v: cache(view(v), 0.0, ALL, v)[0] for v in range(VIEWS)}
    assert counted.asked == VIEWS * IMAGES
    random = np.random.default_rng(0)
    for v in range(VIEWS):
        (exact,) = counted.teachers(view(v), 0.0)
        tolerance = {"float32": 0.0, "float16": 2**-11}[dtype]
        torch.testing.assert_close(first[v], exact, rtol=tolerance, atol=1e-7)
        assert first[v].dtype == torch.float32
        some = random.permutation(IMAGES)[:7]
        before = counted.asked
        assert torch.equal(cache(view(v)[some], 0.0, some, v)[0], first[v][some])
        assert counted.asked == before
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size == 128 + VIEWS * IMAGES * 3 * np.dtype(dtype).itemsize


def test_only_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    counted = Counted(network())
    cache = cached(counted, tmp_path)
    half, some = np.arange(0, IMAGES, 2), np.array([4, 5, 6, 7])
    cache(view(0)[half], 0.0, half, 0)
    assert counted.asked == len(half)
    (found,) = cache(view(0)[some], 0.0, some, 0)
    assert counted.asked == len(half) + 2
    torch.testing.assert_close(found, counted.teachers(view(0)[some], 0.0)[0])


def test_active_teachers_alone_are_asked(tmp_path: Path) -> None:
    main = network(2)
    counted = Counted(network(0), main, main, curriculum="consecutive")
    cache = cached(counted, tmp_path)
    assert len(cache(view(0), 0.0, ALL, 0)) == 2
    assert counted.asked == 2 * IMAGES
    twice = cache(view(0), 0.9, ALL, 0)  # the main teacher is its own assistant, and was asked before
    assert torch.equal(*twice)
    assert counted.asked == 2 * IMAGES
    assert len(list(tmp_path.iterdir())) == 2


def test_another_run_goes_on_from_the_file(tmp_path: Path) -> None:
    first = cached(Counted(network()), tmp_path)(view(1), 0.0, ALL, 1)[0]
    counted = Counted(network())
    assert torch.equal(cached(counted, tmp_path)(view(1), 0.0, ALL, 1)[0], first)
    assert counted.asked == 0


def test_weights_data_and_settings_have_their_own_files(tmp_path: Path) -> None:
    variants: list[tuple[Counted, dict[str, Any]]] = [
        (Counted(network()), {}),
        (Counted(network(1)), {}),
        (Counted(network(), precision="bfloat16"), {}),
        (Counted(network()), {"settings": "crop 2"}),
        (Counted(network()), {"data": 1}),
        (Counted(network()), {"views": 1}),
        (Counted(network()), {"dtype": "float16"}),
    ]
    for i, (counted, settings) in enumerate(variants):
        cached(counted, tmp_path, **settings)(view(0), 0.0, ALL, 0)
        assert counted.asked == IMAGES
        assert len(list(tmp_path.iterdir())) == i + 1


def test_a_row_half_written_is_asked_for_again(tmp_path: Path) -> None:
    first = cached(Counted(network()), tmp_path)(view(0), 0.0, ALL, 0)[0]
    (path,) = tmp_path.iterdir()
    file = np.load(path, mmap_mode="r+")
    file[0, 11, 2] = np.nan
    file.flush()
    counted = Counted(network())
    torch.testing.assert_close(cached(counted, tmp_path)(view(0), 0.0, ALL, 0)[0], first)
    assert counted.asked == 1


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_cached_teachers import ALL, Counted, cached, network, view
cache = cached(Counted(network()), Path(sys.argv[2]))
cache(view(0)[:12], 0.0, ALL[:12], 0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_what_a_killed_run_has_asked_stays(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)])
    assert ran.returncode == -signal.SIGKILL
    counted = Counted(network())
    torch.testing.assert_close(
        cached(counted, tmp_path)(view(0), 0.0, ALL, 0)[0], counted.teachers(view(0), 0.0)[0], rtol=1e-6, atol=1e-6
    )
    assert counted.asked == IMAGES - 12 + IMAGES  # the second time by the line above, uncached


@pytest.mark.parametrize("damage", ["cut short", "other shape", "no npy"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    cached(Counted(network()), tmp_path)(view(0), 0.0, ALL, 0)
    (path,) = tmp_path.iterdir()
    if damage == "cut short":
        os.truncate(path, path.stat().st_size - 1)
    elif damage == "no npy":
        path.write_bytes(b"nothing of the kind")
    else:
        np.save(path, np.zeros((VIEWS, IMAGES + 1, 3), np.float32))
    with pytest.raises(Error, match="delete it"):
        cached(Counted(network()), tmp_path)(view(0), 0.0, ALL, 0)


def test_a_file_that_another_process_made_stays(tmp_path: Path) -> None:
    path = tmp_path / "teacher.npy"
    cached_teachers._create(path, (1, 2, 3), np.dtype("float32"))
    file = np.load(path, mmap_mode="r+")
    assert np.isnan(file).all()
    file[:] = 1
    file.flush()
    cached_teachers._create(path, (1, 2, 3), np.dtype("float32"))
    assert (np.load(path) == 1).all()
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Error, match="No space left"):
        cached(Counted(network()), tmp_path)(view(0), 0.0, ALL, 0)
    assert list(tmp_path.iterdir()) == []


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Error, match="float32, float16"):
        cached(Counted(network()), tmp_path, dtype="int8")
    with pytest.raises(Error, match="views are of 19 images"):
        CachedTeachers(Counted(network()).teachers, tmp_path, dataset(), FixedViews(19, 1, 0), "")
