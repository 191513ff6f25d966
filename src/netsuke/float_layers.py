"""Which layers compute in how many bits: what `float_layers` says, and its form on a command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from netsuke.artifact.contract import Error

BITS = {"float32": None, "int8": 8, "int4": 4}


def read(text: str) -> str | dict[str, str]:
    """One of BITS, or "int8,*.gate.*=int4": patterns of layer names, the last that fits counts. Raises Error."""
    rules = {}
    for part in text.split(","):
        pattern, _, kind = part.rpartition("=")
        if kind not in BITS:
            raise Error(f"{text}: choose {' or '.join(BITS)}, for all layers or by patterns: int8,*.gate.*=int4")
        rules[pattern or "*"] = kind
    return rules["*"] if list(rules) == ["*"] else rules


def read_bits(text: str) -> int | dict[str, int]:
    """Bits of fixed-point weights: 8, or "8,linear=4", patterns as of `read`. Raises Error."""
    rules: dict[str, int] = {}
    for part in text.split(","):
        pattern, _, bits = part.rpartition("=")
        if bits not in ("4", "8"):
            raise Error(f"{text}: give the bits of weights, 4 or 8, for all layers or by patterns: 8,linear=4")
        rules[pattern or "*"] = int(bits)
    return rules["*"] if list(rules) == ["*"] else rules


def write(layers: str | dict[str, str]) -> str:
    """The text that `read` reads."""
    if isinstance(layers, str):
        return layers
    return ",".join(kind if pattern == "*" else f"{pattern}={kind}" for pattern, kind in layers.items())


class FloatLayers:
    """float_layers: one of BITS for all, or {pattern: one of BITS} of layer names. Raises netsuke.Error for others."""

    def __init__(self, float_layers: str | Mapping[str, str]) -> None:
        self.float_layers = float_layers
        rules = {"*": float_layers} if isinstance(float_layers, str) else float_layers
        if not isinstance(rules, Mapping) or not all(isinstance(pattern, str) for pattern in rules):
            raise Error(
                f"float_layers is {float_layers!r}: give {_WORDS}, or a mapping from patterns of layer names to these"
            )
        for pattern, kind in rules.items():
            if not isinstance(kind, str) or kind not in BITS:
                of = "" if isinstance(float_layers, str) else f" for {pattern!r}"
                raise Error(f"float_layers is {kind!r}{of}: use {_WORDS}")
        self.rules = dict(rules)

    @property
    def quantizes(self) -> bool:
        return any(BITS[kind] is not None for kind in self.rules.values())

    def bits(self, name: str) -> int | None:
        """Of weights and activations of the layer `name`; None where it stays float."""
        fitting = [kind for pattern, kind in self.rules.items() if fnmatchcase(name, pattern)]
        return BITS[fitting[-1]] if fitting else None

    def check_calibration(self, calibration: Any) -> None:
        """Raises Error where calibration images are missing, or given for nothing."""
        if self.quantizes and calibration is None:
            raise Error(
                f"float_layers={self.float_layers!r} needs calibration images to choose the ranges of activations: "
                "give calibration=images, a few hundred normalised training images (N, C, H, W)"
            )
        if not self.quantizes and calibration is not None:
            raise Error(
                "calibration images are for float_layers='int8' or 'int4': give that too, or leave calibration out"
            )

    def check_names(self, float_layers: Iterable[str]) -> None:
        """Raises Error for a pattern that fits no float layer. float_layers: their names."""
        names = list(float_layers)
        for pattern in self.rules:
            if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
                some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
                raise Error(f"float_layers: no float layer fits {pattern!r}. There are {some or 'none'}")


_WORDS = "'float32', 'int8' or 'int4'"
