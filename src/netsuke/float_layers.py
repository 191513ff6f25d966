"""The bits of float layers, in words and as they are written on a command line. Imports no torch."""

from __future__ import annotations

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


def write(layers: str | dict[str, str]) -> str:
    """The text that `read` reads."""
    if isinstance(layers, str):
        return layers
    return ",".join(kind if pattern == "*" else f"{pattern}={kind}" for pattern, kind in layers.items())
