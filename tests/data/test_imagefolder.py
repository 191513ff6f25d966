"""A folder of images: classes, sizes, order of channels, and files that are not images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netsuke.artifact.contract import Error
from netsuke.data import open_dataset


@dataclass
class Size:
    resize: int = 0
    crop: int = 0
    interpolation: str = "bilinear"
    fit: str = "shorter"


def write(folder: Path, name: str, pixels: np.ndarray) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def test_classes_are_the_sorted_folders(tmp_path: Path) -> None:
    pixels = noise(6, 5)
    write(tmp_path, "zebra/1.png", pixels)
    write(tmp_path, "ant/2.png", pixels[::-1])
    (tmp_path / "ant/notes.txt").write_text("not an image, and not called one")
    data = open_dataset(f"imagefolder:{tmp_path}")
    assert (len(data), data.classes) == (2, ("ant", "zebra"))
    images, labels = next(data.batches(8))
    assert labels.tolist() == [0, 1]
    assert np.array_equal(images[1], pixels.transpose(2, 0, 1))


def test_shorter_side_is_scaled_and_the_middle_is_kept(tmp_path: Path) -> None:
    pixels = noise(8, 20)
    write(tmp_path, "a/1.png", pixels)
    images, _ = next(open_dataset(f"imagefolder:{tmp_path}", sizing=Size(crop=4)).batches(1))
    assert np.array_equal(images[0], pixels[2:6, 8:12].transpose(2, 0, 1))
    images, _ = next(open_dataset(f"imagefolder:{tmp_path}", sizing=Size(resize=4)).batches(1))
    assert images.shape == (1, 3, 4, 10)
    stretched, _ = next(open_dataset(f"imagefolder:{tmp_path}", sizing=Size(6, fit="stretch")).batches(1))
    whole = Image.fromarray(pixels).resize((6, 6), Image.Resampling.BILINEAR)
    assert np.array_equal(stretched[0], np.asarray(whole).transpose(2, 0, 1))
    bilinear, _ = next(open_dataset(f"imagefolder:{tmp_path}", sizing=Size(6, 6)).batches(1))
    bicubic, _ = next(open_dataset(f"imagefolder:{tmp_path}", sizing=Size(6, 6, "bicubic")).batches(1))
    assert bilinear.shape == bicubic.shape == (1, 3, 6, 6)
    assert not np.array_equal(bilinear, bicubic)


def test_grey_networks_get_grey_images(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", noise(4, 4)[:, :, 0])
    images, _ = next(open_dataset(f"imagefolder:{tmp_path}", channels=1).batches(1))
    assert images.shape == (1, 1, 4, 4)
    images, _ = next(open_dataset(f"imagefolder:{tmp_path}").batches(1))
    assert np.array_equal(images[0, 0], images[0, 2])


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n broken", b"\xff\xd8\xff\xe0 short"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "a/1.png", noise(4, 4))
    (tmp_path / "a/2.jpg").write_bytes(content)
    data = open_dataset(f"imagefolder:{tmp_path}")  # reading is lazy: the folder itself opens
    with pytest.raises(Error, match=r"2\.jpg is not an image") as caught:
        next(data.batches(2))
    assert len(str(caught.value).splitlines()) <= 2


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", noise(64, 64))
    path = tmp_path / "a/1.png"
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(Error, match=r"1\.png is not an image"):
        next(open_dataset(f"imagefolder:{tmp_path}").batches(1))


def test_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Error, match="no sub-folders"):
        open_dataset(f"imagefolder:{tmp_path}")
    (tmp_path / "a").mkdir()
    with pytest.raises(Error, match="holds no images"):
        open_dataset(f"imagefolder:{tmp_path}")


def test_sizes_that_nothing_makes_equal_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", noise(4, 4))
    write(tmp_path, "a/2.png", noise(4, 5))
    with pytest.raises(Error, match="5x4"):
        next(open_dataset(f"imagefolder:{tmp_path}").batches(2))
    with pytest.raises(Error, match="smaller than the crop of 9"):
        next(open_dataset(f"imagefolder:{tmp_path}", sizing=Size(crop=9)).batches(2))


@pytest.mark.parametrize("evaluation", ["val", "test"])
def test_train_and_val_are_the_splits(tmp_path: Path, evaluation: str) -> None:
    write(tmp_path, "train/ant/1.png", noise(4, 4))
    write(tmp_path, "train/bee/deep/er/1.JPEG", noise(4, 4))
    write(tmp_path, "train/cat/1.png", noise(4, 4))
    write(tmp_path, f"{evaluation}/cat/1.png", noise(4, 4))
    train, test = open_dataset(f"imagefolder:{tmp_path}", "train"), open_dataset(f"imagefolder:{tmp_path}")
    assert (train.labels.tolist(), train.name) == ([0, 1, 2], "imagefolder train")
    assert (test.labels.tolist(), test.classes, test.name) == ([2], ("ant", "bee", "cat"), "imagefolder test")


def test_test_is_taken_before_val_if_it_has_classes(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "val/a/1.png", "val/a/2.png"):
        write(tmp_path, name, noise(4, 4))
    write(tmp_path, "test/1.png", noise(4, 4))
    assert len(open_dataset(f"imagefolder:{tmp_path}")) == 2
    write(tmp_path, "test/a/1.png", noise(4, 4))
    assert len(open_dataset(f"imagefolder:{tmp_path}")) == 1


def test_classes_that_are_called_train_and_test_stay_classes(tmp_path: Path) -> None:
    write(tmp_path, "train/1.png", noise(4, 4))
    write(tmp_path, "test/1.png", noise(4, 4))
    for split in ("train", "test"):
        assert open_dataset(f"imagefolder:{tmp_path}", split).classes == ("test", "train")


def test_a_class_to_test_that_was_not_trained_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "train/a/1.png", noise(4, 4))
    write(tmp_path, "val/b/1.png", noise(4, 4))
    with pytest.raises(Error, match="b is in .*val, but not in train"):
        open_dataset(f"imagefolder:{tmp_path}")
