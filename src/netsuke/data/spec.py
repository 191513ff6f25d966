"""SPEC strings, `kind:path`: which data set, and where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from netsuke.artifact.contract import Error
from netsuke.data.cifar import cifar10, cifar100
from netsuke.data.dataset import ArrayDataset, Dataset
from netsuke.data.decode import Decoder
from netsuke.data.detection_dataset import DetectionDataset
from netsuke.data.digits import digits
from netsuke.data.imagefolder import ImageFolder
from netsuke.data.mnist import mnist
from netsuke.data.voc import IMAGE_SETS, VOC
from netsuke.data.webdataset import WebDataset

ARRAYS: dict[str, Callable[[str, str], ArrayDataset]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "digits": digits,
    "mnist": mnist,
}
SPLITS = ("test", "train")
DETECTION = ("voc",)


class Sizing(Protocol):
    """How an image file is brought to a network's size; `Preprocess` and the file's transform both say it."""

    @property
    def resize(self) -> int: ...
    @property
    def crop(self) -> int: ...
    @property
    def interpolation(self) -> str: ...
    @property
    def fit(self) -> str: ...


def kinds() -> tuple[str, ...]:
    return (*sorted(ARRAYS), "imagefolder", "webdataset")


# Names of files by which a path's kind is guessed.
SIGNS = (
    ("test_batch.bin", "cifar10"),
    ("test_batch", "cifar10"),
    ("cifar-10-*", "cifar10"),
    ("test.bin", "cifar100"),
    ("cifar-100-*", "cifar100"),
    ("t10k-images*", "mnist"),
    ("*.tar", "webdataset"),
    ("ImageSets", "voc"),
    ("VOC20*", "voc"),
)


def _guess(path: str) -> str:
    """The kind of the file `path`, or of what is in the folder `path`, by the names."""
    where = Path(path).expanduser()
    for pattern, kind in SIGNS:
        if fnmatch(where.name, pattern) or any(where.glob(pattern)):
            return kind
    return "imagefolder"


def open_dataset(spec: str, split: str = "test", sizing: Sizing | None = None, channels: int = 3) -> Dataset:
    """The data set that `spec` names, as in "cifar10:PATH", "mnist:PATH", "imagefolder:PATH", "webdataset:PATH",
    "digits"; docs/data.md says what PATH may be.

    split: "test" or "train". sizing, channels: of the images, where files are decoded (imagefolder, webdataset).
    Raises Error for an unknown kind or split, a missing path, and files that are not what they should be.
    """
    kind, _, path = spec.partition(":")
    if kind in DETECTION:
        raise Error(f"{spec} holds boxes, not labels: it is for detectors (netsuke.data.open_detection)")
    if kind not in kinds() and ("/" in kind or Path(kind).exists()):
        raise Error(f"{spec} is a path without its kind: write {_guess(spec)}:{spec}")
    if kind not in kinds():
        raise Error(f"unknown data set kind {kind!r}: write KIND:PATH, with KIND one of {', '.join(kinds())}")
    if split not in SPLITS:
        raise Error(f"unknown split {split!r}: it is one of {', '.join(SPLITS)}")
    if kind in ARRAYS:
        return ARRAYS[kind](path, split)
    size = (sizing.resize, sizing.crop, sizing.interpolation) if sizing is not None else (0, 0, "bilinear")
    fit = sizing.fit if sizing is not None else "shorter"
    if kind == "imagefolder":
        return ImageFolder(path, *size, channels, split, fit)
    return WebDataset(path, split, *size, channels, fit)


def open_detection(
    spec: str, split: str = "test", sizing: Sizing | None = None, classes: Sequence[str] | None = None
) -> DetectionDataset:
    """The set of images with boxes that `spec` names, as in "voc:PATH"; docs/data.md says what PATH may be.

    split: "test" or "train", or "fit" and "val", the two parts of "train" as they were published. sizing: of the
    images when they are read without an augmentation; it may not crop. classes: their names, in the order of the
    labels; None takes those of the set.
    Raises Error for another kind or split, a missing path, and files that are not what they should be.
    """
    kind, _, path = spec.partition(":")
    if kind not in DETECTION:
        raise Error(f"{spec} is not a detection set: write KIND:PATH, with KIND one of {', '.join(DETECTION)}")
    if split not in IMAGE_SETS:
        raise Error(f"unknown split {split!r}: it is one of {', '.join(IMAGE_SETS)}")
    decode = Decoder() if sizing is None else Decoder(sizing.resize, sizing.crop, sizing.interpolation, fit=sizing.fit)
    return VOC(path, split, decode, classes)
