"""fma rounds once: compared with exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

import graphs
from exact import rounded
from netsuke.artifact.float32 import fma

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
LARGEST = float(np.finfo(np.float32).max)
TINY = 2.0**-149


def check(a: float, b: float, c: float) -> None:
    found = fma(np.float32(a), np.float32(b), np.float32(c))
    assert found.dtype == np.float32
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:  # the sign of a zero: as the sum of the exact product's sign and c
        assert found == 0
        product_sign = np.signbit(np.float32(a)) ^ np.signbit(np.float32(b))
        assert bool(np.signbit(found)) == bool(product_sign and np.signbit(np.float32(c)))
    else:
        expected = np.float32(rounded(exact))
        assert found.view(np.uint32) == expected.view(np.uint32), (a, b, c, float(found), float(expected))


@given(FINITE, FINITE, FINITE)
@example(16777217 / 2**20, 2.0**20, 2.0**-100)  # 2^24 + 1 + a little: a tie for float32 if the little is lost
@example(16777217 / 2**20, -(2.0**20), 2.0**-100)
@example(4097.0, 4097.0, -TINY)
@example(LARGEST, 1.0, 2.0**103)  # exactly halfway to the number after the largest: infinity
@example(LARGEST, 1.0, 1.9 * 2.0**102)  # a little less: the largest
@example(LARGEST, LARGEST, -LARGEST)
@example(TINY, 0.5, 0.0)  # half of the smallest: to even, 0
@example(TINY, 0.5, TINY)
@example(TINY, TINY, TINY)
@example(TINY, TINY, 0.0)
@example(TINY, -TINY, 0.0)
@example(2.0**-75, 2.0**-75, 0.0)
@example(-0.0, 1.0, -0.0)
@example(0.0, -1.0, 0.0)
@example(1.0, 1.0, -1.0)
def test_equals_the_exact_value_rounded_once(a: float, b: float, c: float) -> None:
    check(float(np.float32(a)), float(np.float32(b)), float(np.float32(c)))


@given(st.integers(0, 2**32 - 1))
def test_sums_near_halves(seed: int) -> None:
    """Products of 25 bits and more, each plus something far smaller: what a twice rounded fma gets wrong."""
    rng = np.random.default_rng(seed)
    for _ in range(20):
        product = int(rng.integers(1 << 11, 1 << 12)) | 1, int(rng.integers(1 << 12, 1 << 13)) | 1
        scale = 2.0 ** int(rng.integers(-60, 60))
        c = float(rng.choice([-1, 1]) * 2.0 ** int(rng.integers(-140, 100)))
        check(float(product[0]) * scale, float(product[1]), c)


def test_rounding_twice_is_not_enough() -> None:
    """The case that this module exists for: without rounding to odd the answer is another one."""
    a, b, c = np.float32(4097), np.float32(4097), np.float32(2.0**-60)  # 4097^2 = 2^24 + 2^13 + 1, a tie
    twice = np.float32(np.float64(a) * np.float64(b) + np.float64(c))
    assert fma(a, b, c) == np.float32(16785410)
    assert twice == np.float32(16785408)


def test_random_bits() -> None:
    a, b, c = graphs.floats(np.random.default_rng(0), "wild", 3, 3000)
    for one in zip(a, b, c, strict=True):
        check(*map(float, one))


def test_infinity_and_nan() -> None:
    inf, nan, one = (np.array([x], np.float32) for x in (np.inf, np.nan, 1.0))
    assert fma(inf, one, one) == inf
    assert fma(one, one, -inf) == -inf
    for a, b, c in ((inf, 0 * one, one), (inf, one, -inf), (nan, one, one), (one, one, nan)):
        assert np.isnan(fma(a, b, c))


def test_broadcasts() -> None:
    a, b = np.ones((2, 1, 3), np.float32), np.full((4, 1), 2, np.float32)
    assert fma(a, b, np.zeros((), np.float32)).shape == (2, 4, 3)
    assert fma(a[:0], b, np.zeros((), np.float32)).shape == (0, 4, 3)
