"""Operations on float32 that numpy lacks: a multiply-add that rounds once, and an exponential with the same bits
everywhere.
"""

from __future__ import annotations

from math import factorial

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


_LIMIT = np.float32(87)
_ROUND = np.array(12582912, np.float32)  # 1.5 * 2^23: adding it leaves no bits behind the point
_LOG2_E, _LN2, _LN2_REST = (
    np.array(float.fromhex(digits), np.float32) for digits in ("0x1.715476p+0", "0x1.62e43p-1", "-0x1.05c61p-29")
)
_FACTORIALS = [np.array(1 / factorial(n), np.float32) for n in range(7, -1, -1)]


def exp(x: np.ndarray) -> np.ndarray:
    """e^x of float32 as docs/format.md, section 4, defines it, x brought to -87 to 87.

    x = k ln 2 + r, e^x = 2^k e^r, and e^r by its series up to r^7.
    """
    x = np.where(x < -_LIMIT, -_LIMIT, x)
    x = np.where(x > _LIMIT, _LIMIT, x)
    rounded = fma(x, _LOG2_E, _ROUND)
    k = rounded - _ROUND
    r = fma(k, -_LN2, x)
    r = fma(k, -_LN2_REST, r)
    p = np.full_like(r, _FACTORIALS[0])
    for coefficient in _FACTORIALS[1:]:
        p = fma(p, r, coefficient)
    with np.errstate(over="ignore"):
        power = (rounded.view(np.uint32) << np.uint32(23)) + np.uint32(0x3F800000)  # 2^k: k lies in the lowest bits
    return p * power.view(np.float32)
