"""The energy of a file: counted by hand for small graphs."""

from __future__ import annotations

import numpy as np
import pytest

from netsuke.analyze.energy import BINARY_MAC, DRAM, FLOAT_MAC, INT8_MAC, SRAM_1MB
from netsuke.artifact.graph import (
    Add,
    Binarize,
    BinaryConv2d,
    Conv2d,
    Graph,
    Int8Conv2d,
    MaxPool,
    Output,
    Quantize,
    Store,
)
from netsuke.report.file_energy import file_energy
from netsuke.report.pictures import pareto_front


def test_every_kind_of_layer_and_of_map() -> None:
    random = np.random.default_rng(0)
    floats = np.ones(4, np.float32)
    same = {"padding": (1, 1, 1, 1)}
    stem = Conv2d(
        "stem", [0], [Store(1), Binarize(np.zeros(1, np.float32), False, 2), Quantize(1.0, 0, 3)],
        weight=random.standard_normal((4, 3, 3, 2), np.float32), bias=floats, **same,
    )  # fmt: skip
    bits = BinaryConv2d(
        "bits", [2], [Add(1), Store(4)], weight=np.ones((4, 3, 3, 4), np.int8),
        alpha_w=floats, beta_w=floats, bias=floats, alpha_a=1.0, gamma=0.0, **same,
    )  # fmt: skip
    codes = Int8Conv2d(
        "codes", [3], [Store(5)], weight=np.ones((4, 3, 3, 4), np.int8),
        weight_scale=floats, bias=floats, activation_scale=1.0, zero=0, **same,
    )  # fmt: skip
    pool = MaxPool("pool", [5], [Store(6)], kernel=(2, 2), stride=(2, 2))
    graph = Graph("three", (2, 6, 6), [stem, bits, codes, pool], [Output(4, 4), Output(6, 4)])
    found = file_energy(graph, 1000)
    image = 36
    assert found.compute == pytest.approx(4 * 9 * image * (2 * FLOAT_MAC + 4 * BINARY_MAC + 4 * INT8_MAC))
    moved = image * (2 * 32 + 4 * (32 + 1 + 8)) + image * 4 * (1 + 32 + 32) + image * 4 * (8 + 32)
    moved += 4 * 32 * (image + image // 4)
    assert found.on_chip == pytest.approx(moved * SRAM_1MB)
    assert found.off_chip == pytest.approx(8000 * DRAM)


def test_the_front_holds_what_nothing_else_beats() -> None:
    points = {
        "float": (100.0, 92.0),
        "dear": (120.0, 91.0),
        "small": (10.0, 90.0),
        "alike": (10.0, 89.0),
        "best": (50.0, 92.0),
    }
    assert pareto_front(points) == ["small", "best"]
