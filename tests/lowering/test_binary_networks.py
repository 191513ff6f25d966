"""Binary networks of other papers through the engine against the torch module, as DESIGN.md section 7 defines it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from binary_networks import images, moved, settled
from lowering_checks import check_nodes, runner
from netsuke.lowering import Lowered, lower
from netsuke.lowering.trace import trace64
from netsuke.models.pokebnn import PokeBNN, convolution

# Binary convolutions of each.
FAST = {
    "birealnet18": 16,
    "reactnet_a": 13 + 18,
    "real_to_binary_resnet18": 16,
    "xnor_alexnet": 6,
    "meliusnet22": 2 * 17,
    "boolnet_k4": 16 + 3,
    "bmxnet_resnet18_imagenet": 16 + 4,
}
SLOW = {
    "xnor_resnet18": 16,
    "birealnet34": 32,
    "reactnet_resnet18": 16,
    "meliusnet29": 2 * 24,
    "meliusnet42": 2 * 37,
    "meliusnet59": 2 * 54,
    "pokebnn_0_5x": 48,
    "pokebnn_0_75x": 48,
    "pokebnn_1_0x": 48,
    "pokebnn_1_5x": 48,
    "pokebnn_2_0x": 48,
    "basenet_k1": 16 + 3,
    "basenet_k4": 16 + 3,
    "boolnet_star_k4": 16 + 3,
    "adabin_alexnet": 6,
    "adabin_reactnet_a": 13 + 18,
    "adabin_meliusnet59": 2 * 54,
}


def check(name: str, x: torch.Tensor, lowered: Lowered, layers: int) -> None:
    """Node by node, and the whole network where no bit flips."""
    kinds = Counter(type(node).__name__ for node in lowered.graph.nodes)
    assert kinds["BinaryConv2d"] == layers
    check_nodes(lowered, x[:2].numpy(), "engine")
    engine, output = runner("engine", lowered.graph), lowered.graph.outputs[0].value
    true, made = trace64(lowered, x.numpy()), np.asarray(engine(x.numpy()))
    expected = true[output].reshape(len(x), -1)
    assert made.shape == expected.shape
    assert np.isfinite(made).all()
    agrees = np.abs(made - expected).max(1) < 1e-4 * np.abs(expected).max(1)
    assert agrees.any(), "a bit has flipped in every image"


@pytest.mark.parametrize(
    ("name", "layers"), [*FAST.items(), *(pytest.param(*item, marks=pytest.mark.slow) for item in SLOW.items())]
)
def test_narrow(name: str, layers: int) -> None:
    torch.set_num_threads(1)
    x = images(name, 6, 64)
    check(name, x, lower(moved(name, x), x[:1]), layers)


def test_a_small_pokebnn() -> None:
    """A bottleneck that keeps the size of its map and one that halves it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = images("pokebnn", 6, 32)
    model = settled(PokeBNN(8, 16, 10, convolution, blocks=(1, 1)), x)
    check("pokebnn", x, lower(model, x[:1]), 6)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_published_width_and_resolution(name: str) -> None:
    x = images(name, 3, 224)
    lowered = lower(moved(name, x, width=1.0, num_classes=1000), x[:1])
    check_nodes(lowered, x[:1].numpy(), "engine")
