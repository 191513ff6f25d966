"""The photometric distortion of SSD, as in its Caffe code (Liu et al. 2016, section 2.2; after Howard 2013)."""

from __future__ import annotations

import numpy as np
from PIL import Image

BRIGHTNESS = 32.0  # of 255, added
CONTRAST = (0.5, 1.5)
SATURATION = (0.5, 1.5)
HUE = 36.0  # degrees: Caffe's 18 are in OpenCV's 8-bit unit of 2 degrees
LEVELS = np.arange(256)


def distort(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The RGB image with its brightness, contrast, saturation and hue changed, each with probability 1/2.

    In this order, or with contrast last, which are as likely. What leaves the range of 8 bits is clipped.
    """
    brightness = _drawn(rng, -BRIGHTNESS, BRIGHTNESS)
    contrast = _drawn(rng, *CONTRAST)
    saturation = _drawn(rng, *SATURATION)
    hue = _drawn(rng, -HUE, HUE)
    contrast_first = rng.random() < 0.5
    linear = LEVELS.astype(float)
    if brightness is not None:
        linear = _rounded(linear + brightness)
    if contrast is not None and contrast_first:
        linear = _rounded(linear * contrast)
    if brightness is not None or (contrast is not None and contrast_first):
        image = image.point(_table(linear) * 3)
    if saturation is not None or hue is not None:
        turned = (LEVELS + round((hue or 0) * 256 / 360)) % 256
        stretched = _rounded(LEVELS * (1 if saturation is None else saturation))
        image = image.convert("HSV").point(_table(turned) + _table(stretched) + _table(LEVELS)).convert("RGB")
    if contrast is not None and not contrast_first:
        image = image.point(_table(_rounded(LEVELS * contrast)) * 3)
    return image


def _drawn(rng: np.random.Generator, low: float, high: float) -> float | None:
    """None, or as likely a number between the two. Takes two numbers from the generator either way."""
    happens, share = rng.random() < 0.5, rng.random()
    return low + share * (high - low) if happens else None


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255)


def _table(values: np.ndarray) -> list[int]:
    return values.astype(int).tolist()
