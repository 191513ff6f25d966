"""The cost of a network: small modules counted by hand, and the published figures of published networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netsuke
from netsuke import Error
from netsuke.analyze import EDITIONS, Bits, cost
from netsuke.analyze.energy import DRAM, ON_CHIP_BITS, SRAM_1MB
from netsuke.nn import BinaryConv2d, BinaryLinear, keep_weights_float
from netsuke.nn.binarizer import WeightBinarizer, WeightSet
from netsuke.nn.temperature import TemperatureWeight

MIB = 2**20


class Signs(WeightBinarizer):
    """-1 and +1, without scale or offset."""

    def forward(self, weight: Tensor) -> WeightSet:
        sign = torch.where(weight >= 0, 1.0, -1.0).to(weight)
        return WeightSet(sign, weight.new_ones(len(weight)), weight.new_zeros(len(weight)))


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return netsuke.create_model(name)


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv2d(8, 6, 3, padding=1), (1, 8, 10, 12), 10 * 12 * 6 * 8 * 9),
        (nn.Conv2d(8, 6, 3, padding=1, groups=2), (1, 8, 10, 12), 10 * 12 * 6 * 4 * 9),
        (nn.Conv2d(8, 6, 3, stride=2), (1, 8, 11, 12), 5 * 5 * 6 * 8 * 9),
        (nn.Conv2d(8, 6, 3, dilation=2), (1, 8, 11, 12), 7 * 8 * 6 * 8 * 9),
        (nn.Conv2d(8, 8, (1, 5), groups=8), (3, 8, 4, 9), 3 * 4 * 5 * 8 * 5),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 5, 5), 25 * 4 * 6 * 4),
        (nn.Conv1d(3, 5, 4), (2, 3, 10), 2 * 7 * 5 * 3 * 4),
        (nn.Linear(7, 5), (2, 7), 2 * 7 * 5),
        (nn.Linear(7, 5), (7,), 7 * 5),
        (nn.Linear(7, 5, bias=False), (2, 3, 7), 2 * 3 * 7 * 5),
    ],
)
def test_float_layers_by_hand(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    found = cost(layer, torch.zeros(shape))
    assert (found.flops, found.bops, found.ops()) == (macs, 0, macs)
    assert found.parameters == sum(p.numel() for p in layer.parameters())
    assert found.size_bytes() == 4 * found.parameters
    assert found.degree_of_binarization() == 0


@pytest.mark.parametrize("groups", [1, 2])
def test_a_binary_convolution_by_hand(groups: int) -> None:
    layer = BinaryConv2d(8, 6, 3, stride=2, padding=1, groups=groups, binary_w=Signs())
    found = cost(layer, torch.zeros(1, 8, 10, 12))
    macs, weights = 5 * 6 * 6 * (8 // groups) * 9, 6 * (8 // groups) * 9
    assert (found.bops, found.flops) == (macs, 0)
    assert found.ops() == macs / 64
    assert found.degree_of_binarization() == 1
    assert (found.parameters, found.binary_parameters) == (weights + 6 + 2, weights)  # the bias, AdaBin's alpha, beta
    assert found.size_bytes() == weights / 8 + 4 * 8
    binary = found.layers[0]
    assert (binary.role, binary.binary_parameters) == ("binary", weights)
    # Picojoules: an eighth of two 8-bit additions for a binary MAC, bits in, float32 out, weights and bias from DRAM.
    assert binary.energy.compute == pytest.approx(macs * 0.06 / 8)
    assert binary.energy.on_chip == pytest.approx((8 * 10 * 12 + 32 * 5 * 6 * 6) * SRAM_1MB)
    assert binary.energy.off_chip == pytest.approx((weights + 32 * 6) * DRAM)


def test_a_set_with_an_offset_has_three_terms_an_output() -> None:
    layer = nn.Sequential(BinaryLinear(16, 4), nn.Flatten())
    found = cost(layer, torch.zeros(1, 16))
    assert (found.bops, found.flops) == (64, 3 * 4)
    keep_weights_float(layer)  # float weights make it a float layer
    found = cost(layer, torch.zeros(1, 16))
    assert (found.bops, found.flops, found.binary_parameters) == (0, 64, 0)


def test_it_makes_no_difference_where_it_is_called() -> None:
    layer = BinaryConv2d(4, 4, 1, binary_w=TemperatureWeight())
    with torch.no_grad():
        layer.weight.fill_(7.0)  # in training this binarizer clamps it to 1.5
    both = nn.Sequential(BinaryConv2d(4, 4, 1), layer)
    inside = []
    for context in (torch.no_grad(), torch.inference_mode(), torch.enable_grad()):
        with context:
            inside.append(cost(both, torch.zeros(1, 4, 3, 3)).flops)
    assert inside == [3 * 36] * 3
    assert torch.equal(layer.weight, torch.full((4, 4, 1, 1), 7.0))


def test_maps_that_do_not_fit_the_cache_go_to_dram() -> None:
    layer = nn.Conv2d(1, 1, 1, bias=False)
    assert ON_CHIP_BITS == 2 * 32 * 128 * 1024
    fits, large = (cost(layer, torch.zeros(1, 1, height, 128)).energy for height in (1024, 1025))
    assert (fits.on_chip, fits.off_chip) == (pytest.approx(ON_CHIP_BITS * SRAM_1MB), pytest.approx(32 * DRAM))
    assert (large.on_chip, large.off_chip) == (0, pytest.approx((2 * 32 * 128 * 1025 + 32) * DRAM))


class Custom(nn.Module):
    """What users write: functional calls, a bare parameter, a layer used twice, tied weights, products of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(6, 3, 3, 3))
        self.twice = nn.Conv2d(6, 6, 1)
        self.tied = nn.Linear(6, 6)
        self.tied.weight = nn.Parameter(self.twice.weight.detach().view(6, 6))
        self.again = nn.Linear(6, 6)
        self.again.weight = self.tied.weight
        self.register_buffer("runs", torch.zeros(()))
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor, scale: float) -> Tensor:
        self.runs += 1
        x = F.conv2d(x, self.kernel, padding=1) * scale
        x = self.twice(F.relu(self.twice(x))) + torch.zeros(1)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = F.scaled_dot_product_attention(tokens, tokens, tokens)
        return self.again(self.tied(torch.einsum("npc,nqc->npq", tokens, tokens) @ tokens))


def test_a_custom_module_is_counted_and_left_alone() -> None:
    module = Custom()
    module.unused.eval()
    found = cost(module, (torch.zeros(1, 3, 4, 5), 0.5))
    pixels = 20
    attention, products = 2 * pixels * pixels * 6, 2 * pixels * pixels * 6
    own = pixels * 6 * 27 + attention + products
    flops = {layer.name: layer.flops for layer in found.layers}
    one = pixels * 36
    assert flops == {"": own, "twice": 2 * one, "tied": one, "again": one, "unused": 0}
    assert found.parameters == sum(p.numel() for p in module.parameters())
    assert {layer.name: layer.parameters for layer in found.layers}["again"] == 6  # its weight counts with `tied`
    assert module.training
    assert not module.unused.training
    assert module.runs == 0
    assert not module.kernel.is_meta
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


class Looks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if float(x.sum()) > 0 else x


def test_a_forward_that_looks_at_values_is_run_in_earnest() -> None:
    assert cost(Looks(), torch.ones(1, 4)).flops == 16
    assert cost(Looks(), -torch.ones(1, 4)).flops == 0
    with pytest.raises(Error, match="Looks fails on the example input"):
        cost(Looks().to("meta"), torch.ones(1, 4))
    with pytest.raises(Error, match="Linear fails"):
        cost(nn.Linear(3, 4), torch.ones(1, 4))


def test_a_transformer_layer_is_seen_through() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    found = cost(layer, torch.zeros(1, 5, 8))
    assert found.flops == 5 * 8 * 24 + 2 * 5 * 5 * 8 + 5 * 8 * 8 + 2 * 5 * 8 * 16


def test_a_binary_layer_of_the_users() -> None:
    class Mine(nn.Conv2d):
        pass

    found = cost(nn.Sequential(Mine(4, 4, 1)), torch.zeros(1, 4, 2, 2), is_binary=lambda m: isinstance(m, Mine))
    assert (found.bops, found.flops, found.binary_parameters, found.parameters) == (64, 0, 16, 20)


def test_editions_by_hand() -> None:
    squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1))
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 8, 1, bias=False), squeeze, nn.Flatten(), nn.Linear(8, 10)
    )
    found = cost(network, torch.zeros(1, 3, 3, 3))
    assert [layer.role for layer in found.layers] == ["input", "pooled", "pooled", "pooled", "output"]
    found = cost(network, torch.zeros(1, 3, 6, 6))
    assert [layer.role for layer in found.layers] == ["input", "other", "pooled", "pooled", "output"]
    plain = 2 + 8 + 10  # biases
    assert found.size_bytes(EDITIONS["8/4/8"]) == 216 + 64 + 32 // 2 + 80 + 4 * plain
    assert found.ops(EDITIONS["8/4/8"]) == (16 * 216 + 16 * 64 + 80) / 8 + 32 / 16
    assert found.size_bytes(Bits(other=4)) == 4 * (216 + 32 + 80 + plain) + 32


# Parameters, BOPs and OPs in G, MiB with float32 layers: Guo et al. 2022 and the papers that print their rows.
BNEXT = {
    "bnext_tiny": (30_862_236, 4.817, 0.0886, 13.3),
    "bnext_small": (68_594_614, 10.838, 0.1905, 26.7),
    "bnext_middle": (134_501_974, 20.086, 0.3381, 46.6),
    "bnext_large": (326_546_640, 52.151, 0.8543, 106.3),
    "bnext18": (12_064_648, 1.676, 0.1643, 5.4),
}
# OPs in G and binary share in per cent as the README of BNext has them, float layers in 8 bits.
QUANTISED = {"bnext_tiny": (0.077, 97.81), "bnext_small": (0.172, 98.47), "bnext_middle": (0.317, 99.02)}

# MiB of its edition with 4-bit gates, as counted on the published code.
FOUR_BIT_GATES = {"bnext_tiny": 5.4, "bnext_small": 11.1, "bnext_middle": 20.5, "bnext_large": 47.9}


@pytest.mark.parametrize("name", BNEXT)
def test_bnext_as_published(name: str) -> None:
    parameters, bops, ops, size = BNEXT[name]
    found = cost(on_meta(name), torch.empty(1, 3, 224, 224))
    assert found.parameters == parameters
    assert found.bops / 1e9 == pytest.approx(bops, rel=0.005)
    assert found.ops() / 1e9 == pytest.approx(ops, rel=0.005)
    assert found.size_bytes() / MIB == pytest.approx(size, rel=0.01)
    if name in QUANTISED:
        ops, share = QUANTISED[name]
        assert found.ops(EDITIONS["8/8/8"]) / 1e9 == pytest.approx(ops, abs=0.0005)
        assert 100 * found.degree_of_binarization(EDITIONS["8/8/8"]) == pytest.approx(share, abs=0.03)
    if name in FOUR_BIT_GATES:
        assert found.size_bytes(EDITIONS["8/4/8"]) / MIB == pytest.approx(FOUR_BIT_GATES[name], rel=0.015)
    memory = found.energy.on_chip + found.energy.off_chip
    assert memory > 2 * found.energy.compute  # what the articles say of binary networks


def test_adabin_resnet18_as_its_authors_count_it() -> None:
    """Their row, as others print it: 4.35 MB, 1.68 G BOPs, 1.43e8 FLOPs, 1.70e8 OPs; what they count is not said."""
    found = cost(on_meta("adabin_resnet18_imagenet"), torch.empty(1, 3, 224, 224))
    assert found.bops == pytest.approx(1.68e9, rel=0.005)
    assert found.flops == pytest.approx(1.43e8, rel=0.006)
    assert found.ops() == pytest.approx(1.70e8, rel=0.01)
    assert found.size_bytes() == pytest.approx(4.35e6, rel=0.03)
    terms = sum(layer.flops for layer in found.layers if layer.role == "binary")
    assert terms == 3 * 1_505_280
    assert terms / 1.65e8 == pytest.approx(0.0274, abs=1e-4)  # of Bi-Real-18's OPs: the share that they name


def test_weights_move_more_energy_than_bits_compute() -> None:
    energies = [
        layer.energy
        for layer in cost(on_meta("adabin_resnet18_imagenet"), torch.empty(1, 3, 224, 224)).layers
        if layer.role == "binary"
    ]
    assert all(energy.on_chip + energy.off_chip > energy.compute for energy in energies)
