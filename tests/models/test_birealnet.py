"""Bi-Real Net equals its published code, from its published state dict, and costs what its papers say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import netsuke
from binary_networks import costs, images, moved, train_two_steps
from liu_plain import State, resnet
from netsuke.models import load_weights, published_weights
from netsuke.nn import BinaryConv2d


def test_costs() -> None:
    """Published: 1.68 and 3.53 G BOPs, 1.39e8 FLOPs, 1.63e8 (its authors) and 1.94e8 OPs, 4.2 MB for the smaller."""
    for name, parameters, binary, bops in (
        ("birealnet18", 11_689_512, 10_985_472, 1_676_279_808),
        ("birealnet34", 21_797_672, 21_086_208, 3_525_967_872),
    ):
        found = costs(name)
        assert (found.parameters, found.binary_parameters) == (parameters, binary)
        # 7x7 stem, three 1x1 shortcuts, classifier
        assert (found.bops, found.flops) == (bops, 118_013_952 + 3 * 6_422_528 + 512_000)
    assert costs("birealnet18").ops() == pytest.approx(1.63e8, rel=0.01)
    assert costs("birealnet18").size_bytes() == pytest.approx(4.2e6, rel=0.01)
    assert costs("birealnet34").ops() == pytest.approx(1.94e8, rel=0.01)


def test_latent_weights_start_as_published() -> None:
    layers = [m for m in netsuke.create_model("birealnet18", width=0.25).modules() if isinstance(m, BinaryConv2d)]
    assert len(layers) == 16
    assert all(bool(((m.weight >= 0) & (m.weight < 0.001)).all()) for m in layers)


def test_two_training_steps() -> None:
    train_two_steps("birealnet18")


@pytest.mark.parametrize(("name", "depths"), [("birealnet18", [4, 4, 4, 4]), ("birealnet34", [6, 8, 12, 6])])
def test_a_published_checkpoint_gives_the_published_outputs(name: str, depths: list[int], tmp_path: Path) -> None:
    x = images(name, 3, 64)
    source = moved(name, x)
    state = published_weights(source)
    assert state["layer1.0.binary_conv.weights"].shape == (16 * 16 * 9, 1)
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 255}, tmp_path / "w.pth.tar")
    model = load_weights(netsuke.create_model(name, num_classes=10, width=0.25), tmp_path / "w.pth.tar")
    again = State({k: v.double() for k, v in state.items()})
    expected = resnet(again, x.double(), depths, react=False)
    assert again.read == {k for k in state if not k.endswith("num_batches_tracked")}
    got = model.double().eval()(x.double())
    assert float((got - expected).abs().max()) <= 1e-9 * float(expected.abs().max())


def test_gradients_are_the_published_ones() -> None:
    x = images("birealnet18", 2, 32).double()
    model: Any = moved("birealnet18", x.float()).double().train()
    model(x).square().sum().backward()
    leaves = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in published_weights(model).items()}
    resnet(State(leaves, training=True), x, [4, 4, 4, 4], react=False).square().sum().backward()
    for name, parameter in model.named_parameters():
        expected = leaves[name + "s" * ("binary_conv" in name)].grad
        assert expected is not None
        assert parameter.grad is not None
        scale = float(expected.abs().max())
        torch.testing.assert_close(parameter.grad, expected.view_as(parameter), rtol=0, atol=1e-8 * scale, msg=name)
