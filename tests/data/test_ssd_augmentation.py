"""SSD's augmentation: boxes stay on what they are of, and chance falls as in the Caffe code."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from netsuke.artifact.contract import Error
from netsuke.data import Annotation, SSDAugmentation
from netsuke.data.photometric import distort
from netsuke.data.ssd_augmentation import FILTERS, _inside, _part

WHOLE = np.array([0.0, 0.0, 1.0, 1.0])
STILL = {"photometric": False, "expand": False, "crop": False, "flips": "none"}


class Scripted:
    """A generator that gives these numbers, one after the other."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = iter(numbers)

    def random(self) -> float:
        return next(self.numbers)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def annotation(*boxes: tuple[float, float, float, float]) -> Annotation:
    """Box i has label i; odd ones are difficult."""
    labels = np.arange(len(boxes))
    return Annotation(np.array(boxes, np.float32).reshape(-1, 4), labels, labels % 2 == 1)


def marked() -> tuple[Image.Image, Annotation]:
    """A black image with a white rectangle, and its box."""
    pixels = np.zeros((480, 800, 3), np.uint8)
    pixels[200:360, 320:560] = 255
    return Image.fromarray(pixels), annotation((320 / 800, 200 / 480, 560 / 800, 360 / 480))


@pytest.mark.parametrize("flips", ["none", "horizontal", "both"])
def test_the_box_stays_on_its_object(flips: str) -> None:
    image, of_image = marked()
    augment = SSDAugmentation(100, (0, 0, 0), photometric=False, flips=flips)  # no crop has fewer pixels
    kept = 0
    for seed in range(150):
        pixels, (boxes, labels, difficult) = augment(image, of_image, rng(seed))
        assert (pixels.shape, pixels.dtype, boxes.dtype) == ((3, 100, 100), np.uint8, np.float32)
        if not len(boxes):
            continue
        kept += 1
        assert (labels.tolist(), difficult.tolist(), boxes.shape) == ([0], [False], (1, 4))
        down, across = np.nonzero(pixels[0] > 127)
        seen = np.array([across.min(), down.min(), across.max() + 1, down.max() + 1])
        np.testing.assert_allclose(boxes[0] * 100, seen, atol=1.01)
    assert kept > 100


def test_with_all_parts_off_it_is_a_resize() -> None:
    image, of_image = marked()
    image = image.resize((90, 70))
    filters = set()
    for seed in range(40):
        pixels, after = SSDAugmentation(64, **STILL)(image, of_image, rng(seed))
        equal = [np.array_equal(pixels.transpose(1, 2, 0), image.resize((64, 64), each)) for each in FILTERS]
        filters.add(equal.index(True))
        np.testing.assert_allclose(after.boxes, of_image.boxes, atol=1e-7)
    assert filters == set(range(5))


def test_a_state_of_the_generator_gives_one_result() -> None:
    image, of_image = marked()
    before = np.asarray(image).copy()
    for seed in range(10):
        first = SSDAugmentation(64)(image, of_image, rng(seed))
        again = SSDAugmentation(64)(before, of_image, rng(seed))  # an array is as good as an image
        assert np.array_equal(first[0], again[0])
        assert all(map(np.array_equal, first[1], again[1]))
    assert np.array_equal(before, image)
    np.testing.assert_array_equal(of_image.boxes, marked()[1].boxes)
    assert not np.array_equal(SSDAugmentation(64)(image, of_image, rng(11))[0], first[0])


def test_the_field_is_the_mean_and_up_to_four_times_the_image() -> None:
    image = Image.new("RGB", (40, 30), (255, 0, 0))
    augment = SSDAugmentation(100, mean=(1, 2, 3), photometric=False, crop=False)
    shares = []
    for seed in range(400):
        pixels, (boxes, _, _) = augment(image, annotation((0, 0, 1, 1)), rng(seed))
        left, top, right, bottom = (round(float(end) * 100) for end in boxes[0])
        inside = np.zeros((100, 100), bool)
        inside[top:bottom, left:right] = True
        assert (pixels[:, inside] == np.array([[255], [0], [0]])).all()
        assert (pixels[:, ~inside] == np.array([[1], [2], [3]])).all()
        shares.append(boxes[0, 2] - boxes[0, 0])
    ratios = 1 / np.array(shares)
    expanded = ratios[ratios > 1.01]
    assert len(expanded) / 400 == pytest.approx(0.5, abs=0.08)
    assert 1 < expanded.min() < 1.2
    assert 3.8 < expanded.max() < 4.1  # to whole pixels
    assert expanded.mean() == pytest.approx(2.5, abs=0.2)


@pytest.mark.parametrize(("flips", "across", "down"), [("none", 0, 0), ("horizontal", 0.5, 0), ("both", 0.5, 0.5)])
def test_flips_are_as_likely_as_not(flips: str, across: float, down: float) -> None:
    corner = np.zeros((100, 100, 3), np.uint8)
    corner[:40, :30] = 255
    of_image = annotation((0.0, 0.0, 0.3, 0.4), (0.5, 0.0, 1.0, 0.1))
    turned = np.zeros((2, 300))
    for seed in range(300):
        pixels, after = SSDAugmentation(50, **{**STILL, "flips": flips})(corner, of_image, rng(seed))
        assert (after.boxes[:, :2] < after.boxes[:, 2:]).all()
        assert after.difficult.tolist() == [False, True]
        turned[:, seed] = [after.boxes[0, axis] > 0.35 for axis in (0, 1)]
        left, top, right, bottom = (after.boxes[0] * 50).round().astype(int)
        assert pixels[:, top:bottom, left:right].mean() > 240
        assert pixels.mean() < 255 * 0.13  # white is 0.12 of it, and all of that in the box
    assert turned.mean(axis=1) == pytest.approx([across, down], abs=0.09)


def test_objects_stay_if_their_centre_does_and_are_clipped() -> None:
    boxes = annotation((0.0, 0.0, 0.2, 0.2), (0.4, 0.4, 0.9, 0.6), (0.3, 0.5, 0.5, 1.0), (0.05, 0.45, 0.44, 0.5))
    after = _inside(boxes, np.array([0.25, 0.4, 0.75, 0.8]))
    assert after.labels.tolist() == [1, 2]
    assert after.difficult.tolist() == [True, False]
    np.testing.assert_allclose(after.boxes, [[0.3, 0, 1, 0.5], [0.1, 0.25, 0.5, 1]], atol=1e-6)


def overlap(a: list[float], b: list[float]) -> float:
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(across, 0) * max(down, 0)
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


def caffe(window: np.ndarray, boxes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """As sampler.cpp and annotated_data_layer.cpp go about it: all seven samplers first, then one find of theirs."""
    finds = [WHOLE.tolist()]
    for least in (0.1, 0.3, 0.5, 0.7, 0.9, 0.0):
        for _ in range(50):
            scale, ratio = random.uniform(0.3, 1), random.uniform(0.5, 2)
            ratio = min(max(ratio, scale * scale), 1 / scale / scale)
            width, height = scale * ratio**0.5, scale / ratio**0.5
            left, top = random.uniform(0, 1 - width), random.uniform(0, 1 - height)
            tried = [left, top, left + width, top + height]
            if any(overlap(tried, box) >= least for box in boxes.tolist()):
                finds.append(tried)
                break
    chosen = finds[int(random.random() * len(finds))]
    return np.tile(window[:2], 2) + np.array(chosen) * np.tile(window[2:] - window[:2], 2)


def test_parts_are_distributed_as_caffes() -> None:
    boxes = np.array([[0.1, 0.1, 0.75, 0.8], [0.5, 0.6, 0.9, 0.9]], np.float32)
    n = 200
    ours, theirs = (
        np.stack([part(WHOLE, boxes, random) for _ in range(n)]) for part, random in ((_part, rng(0)), (caffe, rng(1)))
    )
    for seen in (ours, theirs):
        sides = seen[:, 2:] - seen[:, :2]
        whole = (seen == WHOLE).all(axis=1)
        assert whole.mean() == pytest.approx(1 / 7, abs=0.07)  # all kinds but 0.9 are always found here, near enough
        scale, ratio = np.sqrt(sides.prod(axis=1)), sides[:, 0] / sides[:, 1]
        assert 0.3 <= scale.min() < 0.4
        assert 0.5 - 1e-9 <= ratio.min() < 0.6 < 1.8 < ratio.max() <= 2 + 1e-9
        assert seen.min() >= -1e-9
        assert seen.max() <= 1 + 1e-9
    error = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / n)
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 4 * error).all()
    for quantile in (0.25, 0.5, 0.75):
        np.testing.assert_allclose(
            np.quantile(ours, quantile, axis=0), np.quantile(theirs, quantile, axis=0), atol=0.15
        )


def test_parts_of_an_expansion_lie_within_it() -> None:
    window, box = np.array([-1.5, -0.5, 1.5, 2.5]), np.array([[0.0, 0.0, 1.0, 1.0]], np.float32)
    parts = np.stack([_part(window, box, rng(seed)) for seed in range(200)])
    assert (parts[:, :2] >= window[:2] - 1e-9).all()
    assert (parts[:, 2:] <= window[2:] + 1e-9).all()
    assert np.ptp(parts[:, 0]) > 1


def test_an_image_without_objects_stays_whole() -> None:
    for seed in range(50):
        assert (_part(WHOLE, np.zeros((0, 4), np.float32), rng(seed)) == WHOLE).all()


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(0, 10_000), st.integers(0, 5))
def test_any_image_gives_whole_pixels_and_sound_boxes(width: int, height: int, size: int, seed: int, n: int) -> None:
    random = rng(seed)
    corners = np.sort(random.random((n, 2, 2)).astype(np.float32), axis=1)
    before = Annotation(corners.reshape(-1, 4), np.arange(n), np.zeros(n, bool))
    image = random.integers(0, 256, (height, width, 3), np.uint8)
    pixels, (boxes, labels, difficult) = SSDAugmentation(size, flips="both")(image, before, random)
    assert (pixels.shape, pixels.dtype, pixels.flags.c_contiguous) == ((3, size, size), np.uint8, True)
    assert len(boxes) == len(labels) == len(difficult) <= n
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert ((boxes >= 0) & (boxes <= 1)).all()


OFF = (0.9, 0.0)  # happens if below 1/2; where in its range
RAMP = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2))


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((*OFF, *OFF, *OFF, *OFF, 0.1), lambda u: u),
        ((0.1, 1.0, *OFF, *OFF, *OFF, 0.1), lambda u: u + 32),
        ((0.1, 0.0, *OFF, *OFF, *OFF, 0.9), lambda u: u - 32),
        ((*OFF, 0.1, 0.0, *OFF, *OFF, 0.1), lambda u: u * 0.5),
        ((*OFF, 0.1, 1.0, *OFF, *OFF, 0.9), lambda u: u * 1.5),
        ((0.1, 1.0, 0.1, 1.0, *OFF, *OFF, 0.1), lambda u: (u + 32).clip(0, 255) * 1.5),
        ((0.1, 1.0, 0.1, 1.0, 0.1, 0.0, *OFF, 0.9), lambda u: (u + 32).clip(0, 255) * 1.5),
    ],
)
def test_brightness_is_added_and_contrast_multiplied(numbers: tuple[float, ...], expected) -> None:
    seen = np.asarray(distort(RAMP, Scripted(*numbers))).astype(float)  # type: ignore[arg-type]
    wanted = expected(np.asarray(RAMP).astype(float)).clip(0, 255)
    np.testing.assert_allclose(seen, wanted, atol=0.51)


@pytest.mark.parametrize(
    ("saturation", "hue"), [(None, 36.0), (None, -36.0), (0.5, None), (1.5, None), (0.75, 18.0), (1.25, -9.0)]
)
def test_hue_turns_and_saturation_is_multiplied(saturation: float | None, hue: float | None) -> None:
    pixels = rng(0).integers(60, 256, (1, 200, 3), np.uint8)
    numbers = [*OFF, *OFF]
    numbers += OFF if saturation is None else (0.1, saturation - 0.5)
    numbers += OFF if hue is None else (0.1, (hue + 36) / 72)
    seen = np.asarray(distort(Image.fromarray(pixels), Scripted(*numbers, 0.1)))  # type: ignore[arg-type]
    for before, after in zip(pixels[0], seen[0], strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(before / 255).tolist())
        h, s = (h + (hue or 0) / 360) % 1, min(s * (saturation or 1), 1)
        np.testing.assert_allclose(after, np.array(colorsys.hsv_to_rgb(h, s, v)) * 255, atol=8)  # HSV of 8 bits each


def test_contrast_last_works_on_changed_colours() -> None:
    """A pure red of half saturation, contrast 1.5: first it clips and then greys, last it greys and then clips."""
    red = Image.new("RGB", (1, 1), (240, 0, 0))
    script = (*OFF, 0.1, 1.0, 0.1, 0.0, *OFF)
    first, last = (distort(red, Scripted(*script, order)).getpixel((0, 0)) for order in (0.1, 0.9))  # type: ignore[arg-type]
    np.testing.assert_allclose(first, (255, 127.5, 127.5), atol=2)
    np.testing.assert_allclose(last, (255, 180, 180), atol=3)


def test_each_distortion_happens_half_of_the_time() -> None:
    grey = Image.new("RGB", (1, 1), (100, 100, 100))
    levels = np.array([distort(grey, rng(seed)).getpixel((0, 0))[0] for seed in range(600)])
    assert (levels == 100).mean() == pytest.approx(0.25, abs=0.06)  # neither brightness nor contrast
    assert levels.min() >= 34
    assert levels.max() <= 198
    coloured = Image.new("RGB", (1, 1), (100, 60, 20))
    ratios = [
        (lambda p: (p[1] - p[2]) / max(p[0] - p[2], 1))(distort(coloured, rng(seed)).getpixel((0, 0)))
        for seed in range(400)
    ]
    assert np.mean(np.abs(np.array(ratios) - 0.5) > 0.04) == pytest.approx(0.5, abs=0.12)  # those of another hue


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ({"flips": "vertical"}, "none, horizontal, both"),
        ({"size": 0}, "whole number"),
        ({"size": 30.5}, "whole number"),
        ({"mean": (1, 2)}, "three levels"),
        ({"mean": (1, 2, 300)}, "three levels"),
    ],
)
def test_what_makes_no_augmentation_is_refused(arguments: dict, pattern: str) -> None:
    with pytest.raises(Error, match=pattern):
        SSDAugmentation(**arguments)
