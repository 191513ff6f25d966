"""The random resized crop: its box, what it does to a file's pixels, and one seed an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from netsuke.artifact.contract import Error
from netsuke.data import ArrayDataset, RandomResizedCrop, open_dataset, subset

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def gradient(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 256], axis=2).astype(np.uint8)


@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 2**63 - 1))
def test_the_box_lies_in_the_image(width: int, height: int, seed: int) -> None:
    crop = RandomResizedCrop()
    left, top, right, bottom = crop.box(width, height, seed)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert (left, top, right, bottom) == crop.box(width, height, seed)
    w, h = right - left, bottom - top
    assume(w > 30 and h > 30)  # else a pixel more or less decides the ratio
    assert 0.7 < w / h < 1.4
    if 0.75 < width / height < 1.33:  # else the box in the middle may be all there is
        assert 0.07 < w * h / (width * height) <= 1


def test_areas_ratios_and_places_are_spread_as_said() -> None:
    crop = RandomResizedCrop(scale=(0.1, 0.5), ratio=(0.5, 2.0))
    boxes = np.array([crop.box(1000, 1000, seed) for seed in range(4000)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert np.quantile(width * height / 1e6, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx(
        [0.1, 0.2, 0.3, 0.4, 0.5], abs=0.02
    )
    assert np.quantile(np.log2(width / height), [0, 0.25, 0.5, 0.75, 1]) == pytest.approx(
        [-1, -0.5, 0, 0.5, 1], abs=0.06
    )
    for start, room in ((boxes[:, 0], 1001 - width), (boxes[:, 1], 1001 - height)):
        assert np.quantile(start / room, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.04)


def test_an_image_that_is_too_long_gives_its_middle() -> None:
    crop = RandomResizedCrop(scale=(0.9, 1.0))
    assert crop.box(1000, 100, 0) == (433, 0, 566, 100)
    assert crop.box(100, 1000, 0) == (0, 433, 100, 566)


def write(folder: Path, name: str, pixels: np.ndarray, **options: object) -> None:
    (folder / "a").mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / "a" / name, **options)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_box_is_cut_and_resized_as_pillow_does(tmp_path: Path, interpolation: str) -> None:
    pixels = gradient(90, 70)
    write(tmp_path, "1.png", pixels)
    crop = RandomResizedCrop(24, interpolation=interpolation)
    images, labels = open_dataset(f"imagefolder:{tmp_path}").read(np.array([0, 0]), crop, np.array([5, 6]))
    assert images.shape == (2, 3, 24, 24)
    assert labels.tolist() == [0, 0]
    for ours, seed in zip(images, (5, 6), strict=True):
        cut = Image.fromarray(pixels).crop(crop.box(70, 90, seed))
        expected = cut.resize((24, 24), Image.Resampling[interpolation.upper()])
        assert np.array_equal(ours, np.asarray(expected).transpose(2, 0, 1))


def test_a_large_jpeg_decoded_small_shows_the_same(tmp_path: Path) -> None:
    write(tmp_path, "1.jpg", gradient(800, 640), quality=95)
    write(tmp_path, "2.png", np.asarray(Image.open(tmp_path / "a/1.jpg")))
    data = open_dataset(f"imagefolder:{tmp_path}")
    for seed in range(10):
        small, whole = data.read(np.array([0, 1]), RandomResizedCrop(32), np.array([seed, seed]))[0].astype(int)
        assert np.abs(small[:2] - whole[:2]).mean() < 1.5  # of 255; the third channel is cut at the jump of a sawtooth


def test_a_crop_is_a_function_of_its_seed_alone(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "3.png"):
        write(tmp_path, name, gradient(40, 50))
    data, crop = open_dataset(f"imagefolder:{tmp_path}"), RandomResizedCrop(8)
    seeds = np.array([7, 8, 7])
    images = data.read(np.arange(3), crop, seeds)[0]
    assert np.array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[1])
    assert np.array_equal(subset(data, np.array([2, 1])).read(np.array([1]), crop, seeds[1:2])[0][0], images[1])


def test_a_crop_without_seeds_or_of_images_in_memory_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "1.png", gradient(4, 4))
    with pytest.raises(Error, match="a seed for each"):
        open_dataset(f"imagefolder:{tmp_path}").read(np.array([0]), RandomResizedCrop(8))
    memory = ArrayDataset("made", ("0",), np.zeros((1, 3, 4, 4), np.uint8), np.zeros(1, np.int64))
    with pytest.raises(Error, match="is for files"):
        memory.read(np.array([0]), RandomResizedCrop(8), np.array([0]))


@pytest.mark.parametrize(
    "values",
    [
        {"size": 0},
        {"size": 2.5},
        {"scale": (0.5, 0.1)},
        {"scale": (0.0, 1.0)},
        {"scale": (0.5, 2.0)},
        {"scale": 0.5},
        {"ratio": (-1, 1)},
        {"ratio": (1, 2, 3)},
        {"interpolation": "nearest"},
    ],
)
def test_values_that_make_no_crop_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(Error):
        RandomResizedCrop(**values)  # type: ignore[arg-type]


def test_the_shared_samples_of_imagenet_can_be_cut() -> None:
    folder = SHARED / "imagenet-samples"
    if not folder.is_dir():
        pytest.skip("../shared/data is not here")
    data = open_dataset(f"imagefolder:{folder}")
    images, _ = data.read(np.arange(0, len(data), max(1, len(data) // 5)), RandomResizedCrop(), np.arange(20)[:5])
    assert images.shape[1:] == (3, 224, 224)
