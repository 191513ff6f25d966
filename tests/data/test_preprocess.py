"""Preprocess: the normalisation that travels in a file."""

from __future__ import annotations

import numpy as np
import pytest

from netsuke import Error, Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_affine_is_the_normalisation() -> None:
    scale, shift = Preprocess(MEAN, STD).affine()
    assert scale.dtype == shift.dtype == np.float32
    for c in range(3):
        for pixel in (0, 1, 128, 255):
            expected = (pixel / 255 - MEAN[c]) / STD[c]
            assert float(scale[c]) * pixel + float(shift[c]) == pytest.approx(expected, abs=1e-6)


def test_lists_and_another_scale() -> None:
    preprocess = Preprocess([123.68, 116.779, 103.939], [1, 1, 1], scale=1.0)  # type: ignore[arg-type]
    assert preprocess == Preprocess((123.68, 116.779, 103.939), (1.0, 1.0, 1.0), 1.0)
    np.testing.assert_array_equal(preprocess.affine()[0], [1, 1, 1])


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ({"std": (1.0,)}, "one a channel"),
        ({"mean": (), "std": ()}, "one a channel"),
        ({"std": (1.0, 0.0, 1.0)}, "not 0"),
        ({"mean": (0.0, float("nan"), 0.0)}, "finite"),
        ({"mean": ("a", "b", "c")}, "numbers"),
        ({"mean": 0.5}, "numbers"),
        ({"scale": 0.0}, "not 0"),
        ({"scale": float("inf")}, "finite"),
        ({"order": "rgb"}, "order"),
        ({"interpolation": "nearest"}, "interpolation"),
        ({"resize": -1}, "pixels"),
        ({"fit": "letterbox", "resize": 300}, "'stretch'"),
        ({"fit": "stretch"}, "give a resize"),
        ({"fit": "stretch", "resize": 300, "crop": 224}, "no crop of 224"),
        ({"crop": 3.5}, "pixels"),
        ({"std": (1e-45, 1.0, 1.0)}, "too large"),
    ],
)
def test_what_makes_no_transform_is_refused(arguments: dict[str, object], pattern: str) -> None:
    with pytest.raises(Error, match=pattern):
        Preprocess(**{"mean": MEAN, "std": STD, **arguments})  # type: ignore[arg-type]
