"""How an activation becomes codes of 8 or 4 bits: the range that loses least on numbers that were seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SMALLEST_SCALE = 2.0**-100  # below it a number is as good as 0, and 1 / scale would leave float32
BINS = 1 << 15
FRACTIONS = np.arange(8, 65) / 64  # of an end of the range; at the least, one code still spans some bins


@dataclass(frozen=True)
class Coding:
    """How a float tensor becomes codes q of `bits` bits: q stands for scale * (q - zero)."""

    scale: float
    zero: int
    bits: int = 8


def coding(low: float, high: float, bits: int = 8) -> Coding:
    """The 2^bits codes spread evenly over [low, high], which is widened to hold 0; 0 is represented exactly.

    Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
    section 2.1. An activation that is always 0 gets the scale 1.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    most = (1 << bits) - 1
    scale = float(np.float32((high - low) / most))
    if scale < SMALLEST_SCALE:
        return Coding(1.0, 0, bits)
    return Coding(scale, int(np.clip(np.rint(-low / scale), 0, most)), bits)


class Histogram:
    """Counts of the numbers that are not 0 (which has a code of its own in any range), in equal bins.

    The bins span -limit to limit. limit is a power of two and grows with the numbers: two bins then become one.
    """

    def __init__(self) -> None:
        self.low = self.high = 0.0  # the least and the largest number
        self.limit = 0.0
        self.counts = np.zeros(BINS, np.int64)

    def add(self, x: Tensor) -> None:
        """Count the numbers of a float32 tensor, all finite."""
        least, largest = (float(number) for number in torch.aminmax(x))
        self.low, self.high = min(self.low, least), max(self.high, largest)
        size = max(-self.low, self.high)
        if size == 0:
            return
        self.limit = self.limit or 2.0 ** math.frexp(size)[1]
        while self.limit < size:
            self.limit *= 2
            self.counts = np.pad(self.counts.reshape(-1, 2).sum(axis=1), BINS // 4)
        bins = (x[x != 0].double() / self.limit + 1) * (BINS // 2)
        self.counts += torch.bincount(bins.long().clamp_(0, BINS - 1), minlength=BINS).numpy()

    def filled(self) -> tuple[np.ndarray, np.ndarray]:
        """The middles of the bins that are not empty, and their counts."""
        places = np.flatnonzero(self.counts)
        return ((places + 0.5) / (BINS // 2) - 1) * self.limit, self.counts[places]


def best_range(histogram: Histogram, bits: int = 8) -> tuple[float, float]:
    """The range inside the histogram's with the least mean squared error, as (low, high)."""
    middles, counts = histogram.filled()

    def error(ends: tuple[float, float]) -> float:
        code = coding(*ends, bits)
        rounded = np.clip(np.rint(middles / code.scale) + code.zero, 0, (1 << bits) - 1)
        return float(counts @ (middles - (rounded - code.zero) * code.scale) ** 2)

    low, high = best = (histogram.low, histogram.high)
    least, before = error(best), np.inf
    while least < before:
        before = least
        for candidates in ([(f * low, best[1]) for f in FRACTIONS], [(best[0], f * high) for f in FRACTIONS]):
            errors = [error(candidate) for candidate in candidates]
            if min(errors) < least:
                least, best = min(errors), candidates[int(np.argmin(errors))]
    return best
