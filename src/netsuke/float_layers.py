"""Which layers compute in how many bits: what `float_layers` says, and its form on a command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from netsuke.artifact.contract import Error

BITS = {"float32": None, "int8": 8, "int4": 4}
T = TypeVar("T")


def read(text: str) -> str | dict[str, str]:
    """One of BITS, or "int8,*.gate.*=int4": patterns of layer names, the last that fits counts. Raises Error."""
    words = f"choose {' or '.join(BITS)}, for all layers or by patterns: int8,*.gate.*=int4"
    return _read(text, {kind: kind for kind in BITS}, words)


def read_bits(text: str) -> int | dict[str, int]:
    """Bits of fixed-point weights: 8, or "8,linear=4", patterns as of `read`. Raises Error."""
    words = "give the bits of weights, 4 or 8, for all layers or by patterns: 8,linear=4"
    return _read(text, {"4": 4, "8": 8}, words)


def _read(text: str, known: Mapping[str, T], words: str) -> T | dict[str, T]:
    rules = {}
    for part in text.split(","):
        pattern, _, kind = part.rpartition("=")
        if kind not in known:
            raise Error(f"{text}: {words}")
        rules[pattern or "*"] = known[kind]
    return rules["*"] if list(rules) == ["*"] else rules


def write(layers: str | dict[str, str]) -> str:
    """The text that `read` reads."""
    if isinstance(layers, str):
        return layers
    return ",".join(kind if pattern == "*" else f"{pattern}={kind}" for pattern, kind in layers.items())


def rule_for(name: str, rules: Mapping[str, T]) -> T | None:
    """Of rules by patterns of layer names, the last that fits `name`."""
    fitting = [rule for pattern, rule in rules.items() if fnmatchcase(name, pattern)]
    return fitting[-1] if fitting else None


def check_patterns(what: str, patterns: Iterable[str], names: Iterable[str]) -> None:
    """Raises Error for a pattern other than "*" that fits none of the names. what: the error's first words."""
    names = list(names)
    for pattern in patterns:
        if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
            some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise Error(f"{what} fits {pattern!r}. There are {some or 'none'}")


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
        return BITS[rule_for(name, self.rules) or "float32"]

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
        check_patterns("float_layers: no float layer", self.rules, float_layers)


_WORDS = "'float32', 'int8' or 'int4'"
