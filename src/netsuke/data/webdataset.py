"""WebDataset shards (Aizman et al. 2019) with random access, so that any order of the images can be had again."""

from __future__ import annotations

import io
import re
from glob import glob
from itertools import product
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from netsuke.artifact.contract import Error, first_line
from netsuke.data import files
from netsuke.data.crop import RandomResizedCrop
from netsuke.data.dataset import Dataset
from netsuke.data.decode import Decoder
from netsuke.data.shard import read_index

MAX_SHARDS = 100_000
SPLIT_WORDS = {"train": ("train",), "test": ("val", "valid", "validation", "test")}
HOLDS = "a folder of shards (*.tar), or a pattern of them as in DIR/train-{0000..1023}.tar"


class WebDataset(Dataset):
    """Shards of KEY.jpg (jpeg, png, webp) and KEY.cls, in the order of their names.

    path: a folder, whose *.tar are taken and those in its sub-folders; or a shard; or a pattern with ranges
    {0000..1023}, lists {a,b} and the wildcards * ? []. The split is told by the names: train-0000.tar, x_train_0.tar
    and train/0000.tar are of "train"; val, valid, validation or test in that place say "test". Where no name tells,
    all shards are taken.
    The classes are the lines of classes.txt beside the first shard (or above, if its folder is named as a split), else
    the numbers up to the largest label. shard_sizes: how many images each shard holds, int64 (shards,). resize, crop,
    interpolation, channels, fit: as in ImageFolder.
    Raises Error for missing, damaged or compressed shards and labels without a class; when read, as ImageFolder.
    """

    decodes = True

    def __init__(
        self,
        path: str,
        split: str = "test",
        resize: int = 0,
        crop: int = 0,
        interpolation: str = "bilinear",
        channels: int = 3,
        fit: str = "shorter",
    ) -> None:
        self.name = f"webdataset {split}"
        self.shards = _of_split(path, split)
        indices = [read_index(shard) for shard in self.shards]
        self.shard_sizes = np.array([index.shape[1] for index in indices], np.int64)
        self._first = np.cumsum(self.shard_sizes) - self.shard_sizes  # the number of each shard's first image
        self._offsets, self._bytes, self.labels = np.concatenate(indices, axis=1)
        self.classes = _classes(self.shards[0].parent, int(self.labels.max()))
        self.decode = Decoder(resize, crop, interpolation, channels, fit)

    def __len__(self) -> int:
        return len(self.labels)

    def read(
        self, indices: np.ndarray, crop: RandomResizedCrop | None = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.decode.batch((self._source(int(i)) for i in indices), crop, seeds), self.labels[indices]

    def _source(self, i: int) -> tuple[IO[bytes], str]:
        """Image i as a file in memory, and its name for errors."""
        shard = int(np.searchsorted(self._first, i, side="right")) - 1
        path, offset, size = self.shards[shard], int(self._offsets[i]), int(self._bytes[i])
        name = f"image {i - int(self._first[shard])} of {path} (at byte {offset})"
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise Error(f"{path} cannot be read ({first_line(error)})") from None
        if len(data) != size:
            raise Error(f"{name} is cut short: {path.name} has changed since it was opened")
        return io.BytesIO(data), name


def shard_order(shard_sizes: np.ndarray, group: int, seed: int) -> np.ndarray:
    """An order of the images that is kind to slow storage: int64 (n,), each image once.

    The shards are shuffled, and then the images within each `group` of shards that follow one another, so that only
    `group` shards are in use at a time. With group >= the number of shards it is a shuffle of all images. shard_sizes:
    images of each shard. A function of the arguments alone. Raises Error for a group below 1.
    """
    if group < 1:
        raise Error(f"images are shuffled within groups of 1 shard or more, not {group}")
    sizes = np.asarray(shard_sizes, np.int64)
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))  # its stream never changes
    first = np.cumsum(sizes) - sizes
    shards = random.permutation(len(sizes))
    parts = []
    for start in range(0, len(shards), group):
        images = np.concatenate([np.arange(first[s], first[s] + sizes[s]) for s in shards[start : start + group]])
        parts.append(random.permutation(images))
    return np.concatenate(parts)


def _of_split(path: str, split: str) -> list[Path]:
    """The shards at `path` that belong to the split."""
    shards = _shards(path)
    splits = [_split_of(shard) for shard in shards]
    chosen = [shard for shard, of in zip(shards, splits, strict=True) if of == split]
    if not chosen and any(splits):
        raise Error(
            f"webdataset: by their names, no shard at {path} is of the {split} split\n"
            f"that takes one of {', '.join(SPLIT_WORDS[split])} in the name of the file, or as the name of its folder"
        )
    return chosen or shards


def _split_of(shard: Path) -> str | None:
    words = [*re.split("[^a-z]+", shard.name.lower()), shard.parent.name.lower()]
    return next((split for word in words for split, names in SPLIT_WORDS.items() if word in names), None)


def _shards(path: str) -> list[Path]:
    if not re.search(r"[{}*?\[]", path):
        found = files.exists("webdataset", path, HOLDS)
        shards = [found] if found.is_file() else sorted([*found.glob("*.tar"), *found.glob("*/*.tar")])
        if not shards:
            raise Error(f"webdataset: {path} holds no *.tar\nit should be {HOLDS}")
        return shards
    shards = []
    for pattern in _expand(path):
        matching = sorted(glob(str(Path(pattern).expanduser())))
        if not matching:
            raise Error(f"webdataset: {pattern} does not exist\n{path} asks for it")
        shards += map(Path, matching)
    return shards


def _expand(pattern: str) -> list[str]:
    """The names that a pattern with {first..last} and {a,b} stands for, in order."""
    plain, *rest = re.split(r"\{([^{}]*)\}", pattern)
    choices = [[plain]]
    for braces, after in zip(rest[::2], rest[1::2], strict=True):
        ends = re.fullmatch(r"(\d+)\.\.(\d+)", braces)
        if ends is None:
            choices.append([word + after for word in braces.split(",")])
        else:
            numbers = range(int(ends[1]), int(ends[2]) + 1)[: MAX_SHARDS + 1]
            choices.append([str(number).zfill(len(ends[1])) + after for number in numbers])
    count = prod(map(len, choices))
    if count == 0 or count > MAX_SHARDS or any(re.search("[{}]", word) for choice in choices for word in choice):
        raise Error(
            f"webdataset: {pattern} is no pattern of 1 to {MAX_SHARDS} shards\nwrite as in DIR/train-{{0000..1023}}.tar"
        )
    return ["".join(words) for words in product(*choices)]


def _classes(folder: Path, largest: int) -> tuple[str, ...]:
    """The lines of classes.txt, if there is one, else numbers."""
    path = folder / "classes.txt"
    if not path.is_file() and any(folder.name.lower() in words for words in SPLIT_WORDS.values()):
        path = folder.parent / "classes.txt"
    if not path.is_file():
        return tuple(map(str, range(largest + 1)))
    names = path.read_text("utf-8", errors="replace").splitlines()
    if largest >= len(names):
        raise Error(
            f"{path} names {len(names)} classes, but there is a label {largest}: one line a class, from label 0"
        )
    return tuple(names)
