"""How an 8-bit image becomes the network's input. Travels in the file, so that the engine takes plain images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from netsuke.artifact.contract import Error


@dataclass(frozen=True)
class Preprocess:
    """x = (u * scale - mean[c]) / std[c] for a pixel u of 0 to 255, after resizing and cropping.

    mean, std: one number a channel, in the network's channel order. order: the channel order the network wants, "RGB"
    or "BGR". resize: the shorter side in pixels, 0 to leave the size alone. crop: side of the centre crop in pixels, 0
    for none. interpolation: "bilinear" or "bicubic". fit: "shorter" as just said, or "stretch" to resize to resize x
    resize pixels whatever the ratio of the sides, as SSD does. Raises netsuke.Error for values that make no transform.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1 / 255
    order: str = "RGB"
    resize: int = 0
    crop: int = 0
    interpolation: str = "bilinear"
    fit: str = "shorter"

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            try:
                object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
            except (TypeError, ValueError):
                raise Error(f"{name} is {getattr(self, name)!r}: give a sequence of numbers, one a channel") from None
        if len(self.mean) != len(self.std) or not self.mean:
            raise Error(f"mean has {len(self.mean)} and std {len(self.std)} numbers: give one a channel in both")
        if not all(math.isfinite(v) for v in (*self.mean, *self.std, self.scale)) or 0 in self.std or self.scale == 0:
            raise Error("mean, std and scale must be finite, std and scale not 0")
        if self.order not in ("RGB", "BGR"):
            raise Error(f"order is {self.order!r}: use 'RGB' or 'BGR'")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise Error(f"interpolation is {self.interpolation!r}: use 'bilinear' or 'bicubic'")
        for size in (self.resize, self.crop):
            if isinstance(size, bool) or not isinstance(size, int) or size < 0:
                raise Error(f"resize and crop are whole numbers of pixels, 0 for none, not {size!r}")
        if self.fit not in ("shorter", "stretch"):
            raise Error(f"fit is {self.fit!r}: use 'shorter' or 'stretch'")
        if self.fit == "stretch" and (not self.resize or self.crop):
            raise Error(f"fit 'stretch' makes images resize x resize: give a resize and no crop of {self.crop}")
        with np.errstate(over="ignore"):
            if not np.isfinite(self.affine()).all():
                raise Error("scale / std or mean / std is too large for float32: check their units")

    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """(scale, shift), float32 of shape (C,), with x = u * scale + shift; computed in float64, rounded once."""
        mean, std = np.array(self.mean), np.array(self.std)
        return (self.scale / std).astype(np.float32), (-mean / std).astype(np.float32)
