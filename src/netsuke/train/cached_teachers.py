"""Teachers whose logits of fixed views are kept in files, so that each view is asked for once."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error, first_line
from netsuke.data import Dataset
from netsuke.train.teachers import Teachers
from netsuke.train.views import FixedViews

DTYPES = ("float32", "float16")
SAMPLE = 64  # images of a data set that its fingerprint looks at
CHUNK = 1 << 22  # values of an empty file that are written at a time


class CachedTeachers:
    """`cached(images, progress, indices, view)` is `teachers(images, progress)`, run once for each view of an image.
    A loop takes the view and its random numbers from `views` (see `FixedViews`), not from its generator of the batch.

    folder: of the files `teacher-KEY.npy`, one a network: float logits (views, images, classes), NaN where nobody has
    asked yet. KEY is a digest of the network's structure and weights, of the labels and some of the images, of the
    views' number and seed, and of `settings`, so that runs may share a folder. views: of the images of `dataset`.
    settings: of the augmentation that makes the views, in words. dtype: "float32", or "float16" for half the bytes
    (logits are then off by up to 1/2048 of themselves).

    A run may be killed at any moment: what is in a file stays, and a row that was half written counts as not asked.
    Processes of one machine may share the files; over several machines give each a folder of its own.

    Raises netsuke.Error for another dtype, views of another number of images, a damaged file, and where a file cannot
    be written.
    """

    def __init__(
        self,
        teachers: Teachers,
        folder: str | os.PathLike[str],
        dataset: Dataset,
        views: FixedViews,
        settings: str,
        dtype: str = "float32",
    ) -> None:
        if dtype not in DTYPES:
            raise Error(f"the dtype of cached logits is {dtype!r}: use one of {', '.join(DTYPES)}")
        if views.images != len(dataset):
            raise Error(
                f"the views are of {views.images} images, and {dataset.name} holds {len(dataset)}: make them equal"
            )
        self.teachers, self.views, self.folder = teachers, views, Path(folder)
        self.shape = (views.count, views.images)
        self.dtype = np.dtype(dtype)
        common = (teachers.precision, views.count, views.seed, settings, dtype, _fingerprint(dataset))
        names = {id(network): _digest(network, *common) for network in teachers.networks}
        self.paths = [self.folder / f"teacher-{names[id(network)]}.npy" for network in teachers.networks]
        self._files: dict[Path, np.ndarray] = {}

    def __call__(self, images: Tensor, progress: float, indices: np.ndarray, view: int) -> list[Tensor]:
        """images: float32 (N, C, H, W), view `view` of the data set's images `indices`, (N,), on the teachers' device.

        Float32 logits (N, classes) of each active teacher, those of the file: the same the first time as later.
        """
        return [self._logits(i, images, np.asarray(indices), view) for i in self.teachers.active(progress)]

    def active(self, progress: float) -> list[int]:
        """As of the teachers."""
        return self.teachers.active(progress)

    def _logits(self, teacher: int, images: Tensor, indices: np.ndarray, view: int) -> Tensor:
        path = self.paths[teacher]
        if path not in self._files and path.exists():
            self._files[path] = self._open(path)
        file = self._files.get(path)
        unknown = np.ones(len(indices), bool) if file is None else np.isnan(file[view, indices]).any(axis=1)
        if unknown.any():
            made = self.teachers.logits(teacher, images[torch.from_numpy(unknown).to(images.device)]).cpu().numpy()
            if file is None:
                _create(path, (*self.shape, made.shape[1]), self.dtype)
                file = self._files[path] = self._open(path)
            file[view, indices[unknown]] = made
        assert file is not None
        return torch.from_numpy(file[view, indices].astype(np.float32)).to(self.teachers.device)

    def _open(self, path: Path) -> np.ndarray:
        try:
            np.load(path, mmap_mode="r", allow_pickle=False)  # "r+" would lengthen a file that was cut short
            file = np.load(path, mmap_mode="r+", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise Error(f"{path} cannot be read ({first_line(error)}): delete it, and it is made again") from None
        if file.ndim != 3 or file.shape[:2] != self.shape or file.dtype != self.dtype:
            raise Error(f"{path} is no file of cached logits, or a damaged one: delete it, and it is made again")
        return file


def _create(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """An npy file of NaN, whole or not at all; one that is there stays. Its room on the disk is taken here, where a
    full disk is an error, and not when a page is written back, where it would be a signal."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            left = int(np.prod(shape))
            while left:
                count = min(left, CHUNK)
                file.write(np.full(count, np.nan, dtype).tobytes())
                left -= count
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first; it may have filled it since
            os.link(temporary, path)
    except OSError as error:
        raise Error(f"cannot write {path}: {error.strerror or error}. Choose another folder.") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _fingerprint(dataset: Dataset) -> str:
    """Digest of the labels and of some images, evenly spaced."""
    count = min(SAMPLE, len(dataset))
    images, _ = dataset.read(np.arange(count, dtype=np.int64) * len(dataset) // count)
    digest = hashlib.blake2b(repr((len(dataset), images.shape)).encode())
    digest.update(np.asarray(dataset.labels, np.int64).tobytes())
    digest.update(images.tobytes())
    return digest.hexdigest()


def _digest(network: nn.Module, *settings: object) -> str:
    digest = hashlib.blake2b(repr((str(network), *settings)).encode(), digest_size=12)
    for name, tensor in network.state_dict().items():
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
