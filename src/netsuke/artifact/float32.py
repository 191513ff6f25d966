"""The one operation on float32 that numpy lacks: a multiply-add that rounds once."""

from __future__ import annotations

import numpy as np


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c in float32, rounded once to nearest even (IEEE 754 fusedMultiplyAdd). The arrays broadcast.

    The product of two float32 is exact in float64 (48 of 53 bits, far from its limits). The sum is made in float64 and
    rounded *to odd*: an inexact sum becomes the one of the two float64 beside it whose last bit is 1. That is never
    halfway between two float32, so rounding it again does what one rounding of the exact value would have done
    (Boldo and Melquiond, 2008, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd").
    """
    with np.errstate(all="ignore"):
        product = np.multiply(a, b, dtype=np.float64)
        addend = np.asarray(c, np.float64)
        total = np.asarray(product + addend)
        # TwoSum (Knuth): total + error is the exact sum.
        part = total - product
        error = (product - (total - part)) + (addend - part)
        # The exact sum lies between `total` and a neighbour. If total ends in 0, the neighbour is wanted: the next one
        # towards zero or away from it. float64 of one sign are ordered like their bits.
        bits = total.view(np.int64)
        towards_zero = (error > 0) != (total > 0)
        odd = np.where(towards_zero, bits - 1, bits + 1)
        inexact = np.isfinite(total) & (error != 0) & (bits & 1 == 0)
        return np.where(inexact, odd, bits).view(np.float64).astype(np.float32)
