"""`float_layers` chooses bits layer by layer, in Python and on the command line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lowering_checks import RUNNERS, runner
from netsuke.artifact import Reference
from netsuke.artifact.contract import Error
from netsuke.artifact.graph import Conv2d, Int8Conv2d
from netsuke.float_layers import FloatLayers
from netsuke.lowering import lower


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.gate = nn.Sequential(nn.Conv2d(16, 5, 1), nn.ReLU(), nn.Conv2d(5, 16, 1), nn.Sigmoid())
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        return self.head((x * self.gate(x.mean((2, 3), keepdim=True))).mean((2, 3)))


torch.manual_seed(0)
MODEL, IMAGES = Gated().eval(), torch.randn(32, 3, 12, 12)


def lowered(float_layers: Any) -> Any:
    return lower(MODEL, IMAGES[:1], float_layers=float_layers, calibration=IMAGES).graph


def bits(float_layers: Any) -> dict[str, int]:
    nodes = lowered(float_layers).nodes
    return {n.name: getattr(n, "bits", 32) for n in nodes if isinstance(n, Conv2d | Int8Conv2d)}


def test_the_last_pattern_that_fits_counts() -> None:
    names = ("stem", "gate.0", "gate.2", "head")
    assert bits("int8") == dict.fromkeys(names, 8)
    assert bits("int4") == dict.fromkeys(names, 4)
    assert bits({"*": "int8", "gate.*": "int4"}) == dict(zip(names, (8, 4, 4, 8), strict=True))
    assert bits({"gate.*": "int4", "*": "int8"}) == dict.fromkeys(names, 8)
    assert bits({"gate.?": "int4", "gate.2": "float32"}) == dict(zip(names, (32, 4, 32, 32), strict=True))


@pytest.mark.parametrize("kind", RUNNERS)
def test_4_bits_run_everywhere(kind: str) -> None:
    graph = lowered({"*": "int8", "gate.*": "int4"})
    got, expected = runner(kind, graph)(IMAGES.numpy()), Reference(graph)(IMAGES.numpy())
    assert (got == expected).all()
    with torch.no_grad():
        true = MODEL(IMAGES).numpy()
    assert abs(got - true).max() < 0.1 * abs(true).max()


@pytest.mark.parametrize(
    ("float_layers", "words"),
    [
        ("int2", "'int2': use 'float32', 'int8' or 'int4'"),
        ({"*": 8}, "is 8 for '[*]': use"),
        ({"head": "int3"}, "'int3' for 'head'"),
        (None, "or a mapping"),
        ({3: "int8"}, "or a mapping"),
        ({"*": "int8", "tail*": "int4"}, "no float layer fits 'tail[*]'. There are stem, gate.0, gate.2, ..."),
    ],
)
def test_refused(float_layers: Any, words: str) -> None:
    with pytest.raises(Error, match=words):
        lowered(float_layers)


def test_a_mapping_that_quantizes_nothing_needs_no_images() -> None:
    assert not FloatLayers({"*": "float32"}).quantizes
    assert not FloatLayers({}).quantizes
    with pytest.raises(Error, match="give that too"):
        lowered({"*": "float32"})
    with pytest.raises(Error, match="needs calibration images"):
        lower(MODEL, IMAGES[:1], float_layers={"head": "int4"})
