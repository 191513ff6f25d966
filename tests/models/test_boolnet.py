"""BoolNet: its costs, its forward and gradients by plain functions on five dimensions, as in its authors' code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import netsuke
from binary_networks import costs, settled, train_two_steps
from netsuke.models.boolnet import BoolBlock, BoolNet, Design
from netsuke.nn import BinaryConv2d

DESIGNS = {
    "basenet_k1": Design(1),
    "basenet_k4": Design(4),
    "boolnet_k4": Design(4, grows=True),
    "boolnet_star_k4": Design(4, grows=True, dilated=True),
}


@pytest.mark.parametrize(
    ("name", "bops", "flops", "published"),
    [
        ("basenet_k1", 1_753_350_144, 118_525_952, 1.51e8),
        ("basenet_k4", 1_984_561_152, 118_525_952, 1.54e8),
        ("boolnet_k4", 2_466_250_752, 120_332_288, 1.64e8),
        ("boolnet_star_k4", 3_853_516_800, 120_332_288, 1.76e8),
    ],
)
def test_costs(name: str, bops: int, flops: int, published: float) -> None:
    """docs/models.md says what is known of the differences to the published totals."""
    found = costs(name)
    assert (found.bops, found.flops) == (bops, flops)
    assert found.ops() == pytest.approx(published, rel=0.036)


# ---- on (N, slices, C, H, W)
def sign(x: Tensor) -> Tensor:
    hard = x.detach().clamp(-1, 1)
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype) + (x.clamp(-1, 1) - hard)


def slices_of(x: Tensor, count: int) -> Tensor:
    shifts = {1: [0.0], 4: [-2 / 3, -1 / 3, 1 / 3, 2 / 3]}[count]
    return torch.stack([sign(x + s) for s in shifts], 1)


def norm(x: Tensor, layer: torch.nn.Module) -> Tensor:
    return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias)


def convolve(x: Tensor, layer: torch.nn.Module, groups: int) -> Tensor:
    assert isinstance(layer, BinaryConv2d)
    x = x.flatten(1, 2)
    w, pad, dilation = layer.weight, layer.padding[0], layer.dilation
    scale = w.abs().mean((1, 2, 3), keepdim=True)
    x = F.pad(x, (pad,) * 4, mode="replicate") if pad else x
    return F.conv2d(x, scale * sign(w), None, layer.stride, 0, dilation, groups)


def block(x: Tensor, layer: BoolBlock, grows: bool) -> Tensor:
    k, channels = x.shape[1:3]
    outputs = layer.conv1.out_channels
    beside = None
    if grows and channels == 2 * outputs:
        x, beside = x[:, :, :outputs], x[:, :, outputs:]
    residual = x
    if isinstance(layer.downsample, torch.nn.Sequential):
        conv, pool, bn, _ = layer.downsample
        shrunk = convolve(x, conv, 1)
        shrunk = F.max_pool2d(shrunk, 2) if isinstance(pool, torch.nn.MaxPool2d) else shrunk
        residual = slices_of(norm(shrunk, bn), k)
    y = slices_of(norm(convolve(x, layer.conv1, k), layer.bn1), k) * residual
    z = norm(convolve(y, layer.conv2, k), layer.bn2)
    if layer.last:
        return z + norm(y.mean(1), layer.bn3)
    ones = (slices_of(z, k) + 1) / 2 + (residual + 1) / 2
    z = ones.clamp(0, 1) * 2 - 1
    if not grows:
        return z
    both = torch.stack([z, residual if beside is None else beside], 2)
    return both.transpose(2, 3).flatten(2, 3)


def plain(x: Tensor, model: BoolNet, design: Design) -> Tensor:
    stem = F.conv2d(x, model.conv1.weight, None, 2, 3)
    x = F.max_pool2d(norm(stem, model.bn1), 3, 2, 1)
    if design.grows:
        shift = model.norm
        around = F.conv2d(norm(x, shift.norm_in), shift.conv.weight, None, 1, 1, 1, x.shape[1])
        x = norm(x, shift.norm) + norm(around, shift.norm_out)
    else:
        x = norm(x, model.norm)
    x = slices_of(x, design.slices)
    for layer in model.stages:
        x = block(x, layer, design.grows)
    return F.linear(F.prelu(x, model.prelu.weight).mean((2, 3)), model.fc.weight, model.fc.bias)


@pytest.mark.parametrize("name", DESIGNS)
def test_by_plain_functions(name: str) -> None:
    """Outputs within 1e-9, gradients within 1e-8, in eval mode, where weights are signs."""
    torch.set_num_threads(1)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    model = settled(netsuke.create_model(name, num_classes=5, width=0.125), x).double()
    made = {}
    for kind in ("ours", "plain"):
        model.zero_grad()
        y = model(x.double()) if kind == "ours" else plain(x.double(), model, DESIGNS[name])
        y.square().sum().backward()
        made[kind] = [y.detach(), *(p.grad.clone() for p in model.parameters())]
    torch.testing.assert_close(made["ours"][0], made["plain"][0], rtol=0, atol=1e-9)
    for ours, expected in zip(made["ours"][1:], made["plain"][1:], strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-8 * max(1.0, expected.abs().max().item()))


def test_sizes() -> None:
    """BoolNet's slices have twice the channels behind each block; BoolNet*'s last stage keeps its size."""
    sizes = {}
    for name in DESIGNS:
        model, found = netsuke.create_model(name, num_classes=5, width=0.125).eval(), []
        for layer in model.stages:
            layer.register_forward_hook(lambda _, __, y, found=found: found.append(tuple(y.shape[1:])))
        with torch.no_grad():
            assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
        sizes[name] = [found[1], found[5], found[7]]
    assert sizes == {
        "basenet_k1": [(8, 16, 16), (32, 4, 4), (64, 2, 2)],
        "basenet_k4": [(32, 16, 16), (128, 4, 4), (64, 2, 2)],
        "boolnet_k4": [(64, 16, 16), (256, 4, 4), (64, 2, 2)],
        "boolnet_star_k4": [(64, 16, 16), (256, 4, 4), (64, 4, 4)],
    }


@pytest.mark.parametrize("name", ["basenet_k4", "boolnet_star_k4", "boolnet_k4_float"])
def test_two_training_steps(name: str) -> None:
    train_two_steps(name)
