"""BNext equals its published forward pass, its parameter counts and its checkpoint layout."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

import netsuke
from bnext_plain import Published, State, randomised
from netsuke import Error
from netsuke.cli.checkpoint import load
from netsuke.lowering.capture import capture
from netsuke.models import load_weights, published_weights
from netsuke.models.bnext import BNext
from netsuke.models.bnext_layout import resnet_names, tower_names
from netsuke.models.bnext_units import Design, make_unit
from netsuke.nn import BinaryConv2d, progressive

COUNTS = {
    "bnext_tiny": 30_862_236,
    "bnext_small": 68_594_614,
    "bnext_middle": 134_501_974,
    "bnext_large": 326_546_640,
    "bnext18": 12_064_648,
}
LAYOUT = Path(__file__).parents[2] / "../shared/models/bnext_published_layout.json"
SWITCHES = [(True, True), (False, True), (True, False), (False, False)]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def on_meta(name: str, **arguments: Any) -> nn.Module:
    with torch.device("meta"):
        return netsuke.create_model(name, **arguments)


def small(name: str, **arguments: Any) -> Any:
    return netsuke.create_model(name, **{"num_classes": 10, "width": 0.25, **arguments})


# ------------------------------------------------------------------------------------------- what is published
@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name: str) -> None:
    assert sum(p.numel() for p in on_meta(name).parameters()) == COUNTS[name]


@pytest.mark.skipif(not LAYOUT.exists(), reason="../shared/models/bnext_published_layout.json is not there")
@pytest.mark.parametrize("name", COUNTS)
def test_names_and_shapes_are_the_published_ones(name: str) -> None:
    made = {k: list(v.shape) for k, v in published_weights(on_meta(name)).items()}
    assert made == json.loads(LAYOUT.read_text())[name]


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", ["bnext_tiny", "bnext18"])
def test_the_published_layout_comes_back(name: str, prefix: str, tmp_path: Path) -> None:
    state = randomised(published_weights(small(name)), seed=4)
    state = {k: v.clamp(0, 1).float() if k.endswith("scale") else v.float() for k, v in state.items()}
    torch.save({"state_dict": {prefix + k: v for k, v in state.items()}, "epoch": 511}, tmp_path / "published.pth.tar")
    model = load_weights(small(name), tmp_path / "published.pth.tar")
    back = published_weights(model)
    assert set(back) == set(state)
    for k, v in back.items():
        # The published forward divides by the temperature of activations before their sign: any will do.
        assert torch.equal(v, state[k]) or k.endswith("binary_activation.temperature"), k
    torch.save(model.state_dict(), tmp_path / "ours.pt")
    again = load_weights(small(name), tmp_path / "ours.pt").state_dict()
    assert all(torch.equal(v, again[k]) for k, v in model.state_dict().items())


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = published_weights(small("bnext_tiny"))
    del state["feature.3.Attention.move.bias"]
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(Error, match=r"it lacks blocks\.2\.spatial\.conv\.binary_a\.bias$"):
        load_weights(small("bnext_tiny"), tmp_path / "w.pt")
    torch.save(published_weights(small("bnext18")), tmp_path / "w.pt")
    with pytest.raises(Error, match="does not fit this BNext"):
        load_weights(small("bnext_tiny"), tmp_path / "w.pt")


@pytest.mark.parametrize("module", ["xnor", "real_to_binary", "float"])
def test_only_the_binary_networks_of_the_paper_have_published_names(module: str, tmp_path: Path) -> None:
    model = small("bnext18_float") if module == "float" else small("bnext18", module=module)
    with pytest.raises(Error, match="no published form"):
        published_weights(model)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    load_weights(model, tmp_path / "w.pt")
    with pytest.raises(Error, match="its own"):
        published_weights(netsuke.create_model("resnet20"))


# ------------------------------------------------------------------------------------------- the forward pass
def plain(name: str, published: Published, state: State, x: Tensor) -> Tensor:
    if "18" in name:
        published.hard_below = 1e-5
        return published.resnet18(state, x)
    return published.tower(state, x)


def compare(name: str, classes: int, size: tuple[int, int], attention: bool, recoupling: bool, width: float) -> None:
    seed = prod(size) + classes
    model: Any = netsuke.create_model(
        name, num_classes=classes, width=width, attention=attention, recoupling=recoupling
    )
    state = randomised(published_weights(model), seed)
    model = model.double().eval()
    model.load_state_dict(model.from_published(state))
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with torch.no_grad():
        expected = plain(name, Published(attention, recoupling), state, x)
        got = model(x)
    assert got.shape == (2, classes)
    assert float(expected.abs().max()) > 1e-3
    assert float((got - expected).abs().max()) <= 1e-9 * float(expected.abs().max())


# (classes, height, width) of an image. Behind the stem the sides are multiples of 16 (BNext-18: of 8); that of 1,000
# classes halves and rounds up.
IMAGES = [(10, 16, 48), (1000, 32, 64), (1000, 31, 95)]
IMAGES_18 = [(10, 8, 24), (1000, 32, 64), (1000, 29, 93)]
NARROW = {"bnext_tiny": 0.25, "bnext18": 0.25, "bnext_small": 1 / 6, "bnext_middle": 1 / 6, "bnext_large": 1 / 8}


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize(("which", "attention", "recoupling"), [(i % 3, *s) for i, s in enumerate(SWITCHES)])
def test_forward_equals_the_published_one(name: str, which: int, attention: bool, recoupling: bool) -> None:
    """Every size with every switch, and with each kind of stem and image."""
    classes, *size = (IMAGES_18 if "18" in name else IMAGES)[which]
    compare(name, classes, (size[0], size[1]), attention, recoupling, NARROW[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_forward_equals_the_published_one_at_full_width(name: str) -> None:
    compare(name, 1000, (64, 96) if "18" not in name else (64, 64), True, True, width=1)


@pytest.mark.parametrize("name", ["bnext_tiny", "bnext18"])
@pytest.mark.parametrize(("attention", "recoupling"), SWITCHES)
def test_a_training_step_equals_the_published_one(name: str, attention: bool, recoupling: bool) -> None:
    """Loss and the gradient of every parameter, with the straight-through estimators as the published code has them."""
    model: Any = small(name, attention=attention, recoupling=recoupling).double()
    state = randomised(published_weights(model), seed=9)
    # Training clamps these in place before it computes.
    limits = {".scale": (0, 1), ".binary_conv.weight": (-1.5, 1.5)}
    state = {k: next((v.clamp(*to) for end, to in limits.items() if k.endswith(end)), v) for k, v in state.items()}
    model.load_state_dict(model.from_published(state))
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    direction = torch.randn(4, 10, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (model.train()(x) * direction).sum().backward()
    leaves = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in state.items()}
    (plain(name, Published(attention, recoupling, training=True), leaves, x) * direction).sum().backward()
    names = (resnet_names if "18" in name else tower_names)(model)
    got = {names[k]: p.grad for k, p in model.named_parameters() if p.grad is not None}
    assert set(got) == {k for k, v in leaves.items() if v.grad is not None}
    for k, grad in got.items():
        expected = leaves[k].grad
        assert expected is not None
        torch.testing.assert_close(grad, expected, rtol=0, atol=1e-9 * float(expected.abs().max()), msg=k)


# ------------------------------------------------------------------------------------------- arguments
def test_arguments() -> None:
    with pytest.raises(Error, match="use one of info_rcp, xnor, real_to_binary"):
        small("bnext18", module="xnr")
    with pytest.raises(Error, match="use auto, imagenet or cifar"):
        small("bnext18", stem="CIFAR")
    with pytest.raises(Error, match="at least 0.125"):
        small("bnext18", width=0.01)
    for width in (0, -1, "wide", float("nan"), True):
        with pytest.raises(Error, match="width"):
            small("bnext_tiny", width=width)


@pytest.mark.parametrize(("name", "channels"), [("bnext_tiny", 16), ("bnext_small", 24), ("bnext18", 32)])
def test_width_scales_the_channels_and_keeps_the_shape(name: str, channels: int) -> None:
    narrow, full = small(name, width=0.5), on_meta(name, num_classes=10)
    assert narrow.stem.conv.out_channels == channels
    for a, b in zip(narrow.modules(), full.modules(), strict=True):
        if isinstance(a, nn.Conv2d) and a.in_channels > 3:
            assert isinstance(b, nn.Conv2d)
            assert (2 * a.in_channels, 2 * a.out_channels, a.stride) == (b.in_channels, b.out_channels, b.stride)


def test_the_stem_follows_the_classes_or_what_is_asked() -> None:
    strides = [small("bnext18", **more).stem.conv.stride for more in ({}, {"num_classes": 1000}, {"stem": "imagenet"})]
    assert strides == [(1, 1), (2, 2), (2, 2)]
    assert small("bnext_tiny", num_classes=1000, stem="cifar").stem.conv.stride == (1, 1)


def test_the_command_line_exports_random_weights_as_if_they_were_trained() -> None:
    network = load("bnext18_cifar", None)
    layers = [m for m in network.module.modules() if isinstance(m, BinaryConv2d)]
    assert len(layers) == 16
    assert all(bool((m.binary_w(m.weight).sign.abs() == 1).all()) for m in layers)
    assert network.entry.input == (3, 32, 32)


# ------------------------------------------------------------------------------------------- every design, in miniature
DESIGNS = [*(Design(*switch) for switch in SWITCHES), Design(module="xnor"), Design(module="real_to_binary")]


def miniature(design: Design, seed: int = 0) -> nn.Module:
    """Two blocks, the second with attention where the design has it; batch norm and all else away from its start."""
    torch.manual_seed(seed)
    model = BNext(8, (2, 4), 5, design, small_stem=True)
    for parameter in model.parameters():
        if parameter.dim() == 1 or parameter.shape[0] == 1:
            nn.init.uniform_(parameter, 0.2, 0.9)
    return model


@pytest.mark.parametrize("design", [DESIGNS[0], *DESIGNS[-2:]])  # the other switches leave operators out
def test_every_design_is_captured_once_it_is_hard(design: Design) -> None:
    """`capture` itself compares with the module, at several batch sizes."""
    model = miniature(design)
    images = torch.randn(2, 3, 8, 8)
    if design.module == "info_rcp":
        with pytest.raises(Error, match=r"blocks\.0\.spatial\.conv.*progressive\(model, 1\)"):
            capture(model, images)
    progressive(model, 1)
    graph = capture(model, images).module.graph
    layers = sum(isinstance(m, BinaryConv2d) for m in model.modules())
    assert layers == 6
    assert sum("binary_conv2d" in str(node.target) for node in graph.nodes) == layers


def normalised(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return x * scale[:, None, None] + (norm.bias - norm.running_mean * scale)[:, None, None]


def older_unit(module: str) -> Any:
    """A unit of 8 to 16 channels and stride 2 with random batch norm statistics, in float64 and eval mode."""
    torch.manual_seed(0)
    shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(8, 16, 1))
    unit = make_unit(8, 16, 3, 2, Design(module=module), shortcut, attention=True).double().eval()
    for name, tensor in unit.state_dict().items():
        if "norm" in name and tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5)
    return unit


def test_xnor_unit_by_its_formula() -> None:
    unit, x = older_unit("xnor"), torch.randn(2, 8, 6, 6, dtype=torch.float64)
    weight = unit.conv.weight
    filters = torch.stack([w.sign() * w.abs().mean() for w in weight])
    y = conv2d(normalised(x, unit.norm).sign(), filters, stride=2, padding=1) + unit.shortcut(x)
    torch.testing.assert_close(unit(x), y, rtol=0, atol=1e-12)


def test_real_to_binary_unit_by_its_formula() -> None:
    unit, x = older_unit("real_to_binary"), torch.randn(2, 8, 6, 6, dtype=torch.float64)
    z = normalised(x, unit.norm)
    inside = (z.mean((2, 3)) @ unit.gate.reduce.weight.flatten(1).T).clamp(min=0)
    gate = 1 / (1 + torch.exp(-inside @ unit.gate.expand.weight.flatten(1).T))
    y = conv2d(z.sign(), unit.conv.weight.sign(), stride=2, padding=1) * gate[:, :, None, None]
    y = torch.where(y >= 0, y, y * unit.prelu.weight[:, None, None]) + unit.shortcut(x)
    torch.testing.assert_close(unit(x), y, rtol=0, atol=1e-12)
