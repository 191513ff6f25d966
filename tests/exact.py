"""Correct rounding from its definition, with integers: what the tests of floats compare with."""

from __future__ import annotations

from fractions import Fraction


def rounded(exact: Fraction) -> float:
    """The float32 nearest to a fraction that is not 0, halves to even: by integers, from the definition."""
    size = abs(exact)
    exponent = (
        size.numerator.bit_length() - size.denominator.bit_length()
    )  # 2**(exponent - 1) <= size < 2**(exponent + 1)
    if size < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - 23, -149)
    nearest = round(size / unit) * unit  # Fraction.__round__ takes halves to even
    magnitude = float("inf") if nearest >= 2**128 else float(nearest)
    return -magnitude if exact < 0 else magnitude
