"""What a network costs: parameters, operations, size and energy, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from netsuke.analyze.count import Work, work_of
from netsuke.analyze.energy import Energy, arithmetic, maps, weights
from netsuke.nn import BinaryConv2d, BinaryLinear, FloatWeight
from netsuke.nn.parallel import unwrapped

FLOAT_BITS = 32
BINARY_PER_FLOAT = 64  # OPs = BOPs / 64 + FLOPs (Bi-Real Net, Liu et al. 2018, section 4.3)
# What a weight set with an offset (AdaBin) adds to each output of a layer: the three terms beside the dot product.
# AdaBin's authors count them: on ResNet-18, 3 x 1,505,280 outputs are the 2.74 % of operations that they name.
TERMS_OF_A_SET = 3


@dataclass(frozen=True)
class Bits:
    """Bits of a weight in the layers that are not binary: the first that runs, those on maps of one pixel
    (squeeze-and-excitation branches), the last, and the others. An operation in fewer bits counts in proportion."""

    input: int = FLOAT_BITS
    pooled: int = FLOAT_BITS
    output: int = FLOAT_BITS
    other: int = FLOAT_BITS

    def of(self, role: str) -> int:
        """role: as in `LayerCost`. What a binary layer computes in float stays so."""
        return FLOAT_BITS if role in ("", "binary") else getattr(self, role)


# The settings of BNext's quantised edition: input layer, SE branches, output layer (Guo et al. 2022, Table 1).
EDITIONS = {"float32": Bits(), "8/8/8": Bits(8, 8, 8, 8), "8/4/8": Bits(8, 4, 8, 8)}


@dataclass(frozen=True)
class LayerCost:
    """One module that holds parameters or computes. role: "binary", "input", "pooled", "output" or "other" for layers
    that multiply and add (see `Bits`), else empty. weights: those parameters that it multiplies with.

    bops, flops: binary and float multiply-accumulates. energy: in picojoules (`netsuke.analyze.energy`).
    """

    name: str
    kind: str
    role: str
    parameters: int
    binary_parameters: int
    weights: int
    bops: int
    flops: int
    energy: Energy

    @property
    def ops(self) -> float:
        return self.bops / BINARY_PER_FLOAT + self.flops


@dataclass(frozen=True)
class Cost:
    """The sums over `layers`, which stand in the order of their first use; those that nothing uses come last."""

    layers: list[LayerCost] = field(repr=False)

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def binary_parameters(self) -> int:
        return sum(layer.binary_parameters for layer in self.layers)

    @property
    def bops(self) -> int:
        return sum(layer.bops for layer in self.layers)

    @property
    def flops(self) -> int:
        return sum(layer.flops for layer in self.layers)

    @property
    def energy(self) -> Energy:
        return sum((layer.energy for layer in self.layers), Energy())

    def ops(self, bits: Bits = EDITIONS["float32"]) -> float:
        """BOPs / 64 + FLOPs, those of a layer with b-bit weights counted b / 64 times (float32: once)."""
        float_ops = sum(layer.flops * _share(bits.of(layer.role)) for layer in self.layers)
        return self.bops / BINARY_PER_FLOAT + float_ops

    def degree_of_binarization(self, bits: Bits = EDITIONS["float32"]) -> float:
        """The binary operations' share of all: (BOPs / 64) / OPs, 0 to 1; 0 where nothing is computed."""
        ops = self.ops(bits)
        return self.bops / BINARY_PER_FLOAT / ops if ops else 0.0

    def size_bytes(self, bits: Bits = EDITIONS["float32"]) -> int:
        """One bit for each binary parameter, `bits` for the weights of the other layers, four bytes for every other
        parameter (biases, batch norm's scales and shifts, slopes); running statistics are not counted."""
        total = 0
        for layer in self.layers:
            plain = layer.parameters - layer.binary_parameters - layer.weights
            total += layer.binary_parameters + layer.weights * bits.of(layer.role) + plain * FLOAT_BITS
        return -(-total // 8)


def _share(bits: int) -> float:
    """How much of a FLOP an operation in so few bits is: 1/8 in 8 bits (BNext's README), 1/16 in 4; 64 of one bit."""
    return 1.0 if bits == FLOAT_BITS else bits / BINARY_PER_FLOAT


def is_binary_layer(module: nn.Module) -> bool:
    """Whether `module` is one of netsuke's binary layers, with its weights binary too (`netsuke.nn.two_step`)."""
    return isinstance(module, (BinaryConv2d, BinaryLinear)) and not isinstance(module.binary_w, FloatWeight)


def cost(
    module: nn.Module,
    example_input: Tensor | tuple[Any, ...],
    is_binary: Callable[[nn.Module], bool] = is_binary_layer,
) -> Cost:
    """The cost of one forward of `module` in eval mode on `example_input` (give a batch of one for that of one image).

    module: any; it is neither changed nor, where the forward does not depend on values, run: nothing is allocated, and
    a module on the meta device will do. example_input: what the forward takes, as a tuple for several arguments; its
    values are not used. is_binary: which modules multiply bits; their parameter `weight` is the binary one. Parameters
    that two modules share count once.

    BOPs are multiply-accumulates of binary layers, FLOPs those of the others: convolutions and products of matrices,
    the borders' zeros included, as the papers count. Batch norm, nonlinearities, pooling, additions, products of maps
    and binarizers count nothing; a weight set with an offset (AdaBin's) has three FLOPs an output, as its authors
    count.

    Raises netsuke.Error where the forward fails on the example.
    """
    module = unwrapped(module)
    done: dict[str, list[Work]] = {}
    for work in work_of(module, example_input):
        done.setdefault(work.module, []).append(work)
    modules = dict(module.named_modules())
    binary = {name for name in done if is_binary(modules[name])}
    floats = [name for name in done if name not in binary]
    seen: set[int] = set()
    order = [*done, *(name for name in modules if name not in done)]
    own = {name: [p for p in modules[name].parameters(recurse=False) if not _seen(p, seen)] for name in order}
    layers = []
    for name in order:
        if name in done or own[name]:
            role = _role(name, done, floats, binary)
            layers.append(_layer(name, modules[name], role, own[name], done.get(name, [])))
    return Cost(layers)


def _seen(parameter: nn.Parameter, seen: set[int]) -> bool:
    before = id(parameter) in seen
    seen.add(id(parameter))
    return before


def _role(name: str, done: dict[str, list[Work]], floats: list[str], binary: set[str]) -> str:
    if name in binary:
        return "binary"
    if name not in done:
        return ""
    if name == floats[-1]:
        return "output"
    if name == floats[0]:
        return "input"
    return "pooled" if all(work.pooled for work in done[name]) else "other"


def _layer(name: str, module: nn.Module, role: str, own: list[nn.Parameter], done: list[Work]) -> LayerCost:
    held = sum(p.numel() for p in own)
    macs, written = sum(work.macs for work in done), sum(work.written for work in done)
    weight = getattr(module, "weight", None)
    multiplied = weight.numel() if done and any(weight is p for p in own) and weight is not None else 0
    binary = role == "binary"
    binary_parameters = multiplied if binary else 0
    flops = macs if not binary else TERMS_OF_A_SET * written if _has_offset(module) else 0
    bops = macs if binary else 0
    energy = arithmetic(bops, flops) + weights(binary_parameters + (held - binary_parameters) * FLOAT_BITS)
    for work in done:
        # A layer without parameters multiplies activations alone: both of its operands are maps.
        read = work.read + (0 if held else work.weight)
        energy += maps(read * (1 if binary else FLOAT_BITS), work.written * FLOAT_BITS)
    floats = 0 if binary else multiplied
    return LayerCost(name, type(module).__name__, role, held, binary_parameters, floats, bops, flops, energy)


def _has_offset(module: nn.Module) -> bool:
    """Whether the two values of a weight are other than +-alpha: its offset then follows from the latent weight."""
    if not isinstance(module, (BinaryConv2d, BinaryLinear)):
        return False
    with torch.inference_mode(False), torch.enable_grad():
        latent = torch.zeros_like(module.weight).requires_grad_()  # not its own: some binarizers clamp it in training
        return module.binary_w(latent).beta.requires_grad
