"""ReActNet equals its published code, from its published state dicts, and costs what its papers say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import netsuke
from binary_networks import MIB, costs, images, moved, train_two_steps
from liu_plain import State, reactnet_a, resnet
from netsuke import Error
from netsuke.models import load_weights, published_weights
from netsuke.models.reactnet import NAMES_18
from netsuke.models.renaming import renamed
from netsuke.nn import keep_weights_float

NAMES = ["reactnet_a", "reactnet_resnet18"]


def plain(name: str, state: State, x: Tensor) -> Tensor:
    return reactnet_a(state, x, 0.25) if name == "reactnet_a" else resnet(state, x, [4, 4, 4, 4], react=True)


def test_costs() -> None:
    """Published: A 4.82 G BOPs, 0.12e8 FLOPs, 0.87e8 OPs, 7.4 MB; on ResNet-18 1.63e8 OPs. Size: docs/models.md."""
    found = costs("reactnet_a")
    assert (found.parameters, found.binary_parameters) == (29_343_592, 28_253_184)
    assert (found.bops, found.flops) == (4_816_896_000, 112 * 112 * 32 * 27 + 1024 * 1000)
    assert found.ops() == pytest.approx(0.87e8, rel=0.01)
    assert found.size_bytes() / MIB == pytest.approx(7.4, rel=0.02)
    found = costs("reactnet_resnet18")
    assert (found.parameters, found.bops, found.flops) == (11_704_424, 1_676_279_808, 137_793_536)
    assert found.ops() == pytest.approx(1.63e8, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_two_training_steps(name: str) -> None:
    train_two_steps(name)


def test_two_steps_of_step_one() -> None:
    """Binary activations, float weights."""
    train_two_steps("reactnet_a", prepare=keep_weights_float)


@pytest.mark.parametrize("name", NAMES)
def test_a_published_checkpoint_gives_the_published_outputs(name: str, tmp_path: Path) -> None:
    x = images(name, 3, 64)
    state = published_weights(moved(name, x))
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 127}, tmp_path / "w.pth.tar")
    model = load_weights(netsuke.create_model(name, num_classes=10, width=0.25), tmp_path / "w.pth.tar")
    again = State({k: v.double() for k, v in state.items()})
    expected = plain(name, again, x.double())
    assert again.read == {k for k in state if not k.endswith("num_batches_tracked")}
    got = model.double().eval()(x.double())
    assert float((got - expected).abs().max()) <= 1e-9 * float(expected.abs().max())
    torch.save(model.state_dict(), tmp_path / "ours.pt")
    ours = load_weights(netsuke.create_model(name, num_classes=10, width=0.25), tmp_path / "ours.pt").double().eval()
    assert torch.equal(ours(x.double()), got)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_published_ones(name: str) -> None:
    x = images(name, 2, 64).double()
    model: Any = moved(name, x.float()).double().train()
    model(x).square().sum().backward()
    leaves = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in published_weights(model).items()}
    plain(name, State(leaves, training=True), x).square().sum().backward()
    names = model._names() if name == "reactnet_a" else NAMES_18
    compared = set()
    for own, parameter in model.named_parameters():
        published = renamed(own, names)
        published += "s" * (published + "s" in leaves)
        compared.add(published)
        expected = leaves[published].grad
        assert expected is not None
        assert parameter.grad is not None
        scale = float(expected.abs().max())
        torch.testing.assert_close(parameter.grad, expected.view_as(parameter), rtol=0, atol=1e-8 * scale, msg=own)
    assert compared == {k for k, v in leaves.items() if v.grad is not None}


def test_names_and_shapes_of_the_published_code() -> None:
    """Read in its `reactnet.py`: a block that keeps its channels and one that doubles them; columns of weights."""
    state = {k: tuple(v.shape) for k, v in published_weights(netsuke.create_model("reactnet_a")).items()}
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    moves = [f"move{i}{j}.bias" for i in (1, 2) for j in (1, 2, 3)]
    common = ["binary_3x3.weights", *moves, "prelu1.weight", "prelu2.weight", *(f"bn1.{n}" for n in norm)]
    keeping = ["binary_pw.weights", *(f"bn2.{n}" for n in norm)]
    doubling = [f"binary_pw_down{i}.weights" for i in (1, 2)] + [f"bn2_{i}.{n}" for i in (1, 2) for n in norm]
    assert {k for k in state if k.startswith("feature.3.")} == {f"feature.3.{n}" for n in common + keeping}
    assert {k for k in state if k.startswith("feature.2.")} == {f"feature.2.{n}" for n in common + doubling}
    assert state["feature.2.binary_3x3.weights"] == (64 * 64 * 9, 1)
    assert state["feature.2.move22.bias"] == (1, 128, 1, 1)
    assert state["feature.2.prelu2.weight"] == (128,)
    assert state["fc.weight"] == (1000, 1024)


def test_what_has_no_published_form() -> None:
    with pytest.raises(Error, match="no published form"):
        published_weights(netsuke.create_model("reactnet_a_float", width=0.25))
    state = published_weights(netsuke.create_model("reactnet_a", width=0.25))
    model: Any = netsuke.create_model("reactnet_a", width=0.25)
    del state["feature.2.move21.bias"]
    missing = set(model.state_dict()) - set(model.from_published(state))
    assert missing == {f"feature.2.binary_pw.{i}.binary_a.bias" for i in (0, 1)}
