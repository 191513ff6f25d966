"""Inputs that the fuzzer starts from (csrc/fuzz.cc): python tests/fuzz_corpus.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import graphs
from netsuke.artifact import coding, encode


def inputs() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    levels = np.where(rng.random((8, 3, 3, 4)) < 0.3, rng.integers(-8, 9, (8, 3, 3, 4)), 0).astype(np.int16)
    floats = rng.normal(size=200).astype(np.float32)
    made = {
        "levels": bytes([1, 7, 2, 2, 3, 4, 4]) + coding.encode(levels, -8, 8),
        "floats": bytes([0, 200, 0]) + coding.encode_floats(floats),
        "rounded": bytes([0, 200, 0]) + coding.encode_floats(np.rint(floats * 8) / np.float32(8)),
    }
    networks = {"coded": graphs.coded, "every": graphs.every_operator, "residual": graphs.residual_network}
    return made | {name: b"\2" + encode(make()) for name, make in networks.items()}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in inputs().items():
        (folder / name).write_bytes(data)
