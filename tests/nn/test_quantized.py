"""Layers that train in 8 or 4 bits: what they round, and the gradients that pass."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netsuke.artifact.contract import Error
from netsuke.nn import ActivationQuantizer, QuantizedConv2d, QuantizedLinear
from netsuke.nn.quantized import quantize_weight


def quantizer(bits: int, scale: float, zero: int) -> ActivationQuantizer:
    made = ActivationQuantizer(bits)
    made.start(scale, zero)
    return made


def test_an_activation_becomes_what_its_codes_stand_for() -> None:
    x = torch.tensor([-9.0, -1.1, -0.2, 0.0, 0.3, 2.6, 5.9, 6.1, 99.0])
    made = quantizer(4, 0.5, 3)(x)
    codes = [0, 1, 3, 3, 4, 8, 15, 15, 15]  # round(2 * x) + 3
    assert made.tolist() == [0.5 * (code - 3) for code in codes]


def test_the_gradient_of_the_input_is_cut_off_where_codes_end() -> None:
    x = torch.tensor([-9.0, -1.1, 0.3, 5.9, 99.0], requires_grad=True)
    quantizer(4, 0.5, 3)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_the_gradient_of_the_step_is_that_of_lsq() -> None:
    """Equation 3 of Esser et al.: round(x / s) - x / s inside, the last code outside; times s ln 2 for log2 s, and
    divided by sqrt(numbers * codes)."""
    x, scale, zero = torch.tensor([-9.0, -1.1, 0.3, 5.9, 99.0]), 0.5, 3
    made = quantizer(4, scale, zero)
    made(x).sum().backward()
    steps = x / scale
    inside = (steps >= -zero) & (steps <= 15 - zero)
    ends = torch.where(steps < 0, -float(zero), 15.0 - zero)
    of_scale = torch.where(inside, steps.round() - steps, ends).sum()
    wanted = of_scale * scale * torch.log(torch.tensor(2.0)) / (5 * 15) ** 0.5
    assert made.log_factor.grad is not None
    torch.testing.assert_close(made.log_factor.grad, wanted)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("linear", [False, True], ids=["convolution", "linear"])
def test_a_layer_is_a_float_one_of_rounded_numbers(bits: int, linear: bool) -> None:
    torch.manual_seed(0)
    plain: nn.Module = nn.Linear(6, 5) if linear else nn.Conv2d(6, 5, 3, 2, 1, groups=1)
    before = copy.deepcopy(plain)
    kind = QuantizedLinear if linear else QuantizedConv2d
    layer = kind.from_float(plain, bits)  # type: ignore[arg-type]
    assert layer.weight is plain.weight
    layer.activation.start(0.1, 7)
    x = torch.randn(4, 6, requires_grad=True) if linear else torch.randn(4, 6, 7, 7, requires_grad=True)
    codes, scale = quantize_weight(before.weight, bits)
    assert int(codes.abs().max()) == (1 << (bits - 1)) - 1
    weight = codes.float() * scale.view((-1,) + (1,) * (codes.dim() - 1))
    rounded = ((x.detach() / 0.1 + 7).round().clamp(0, (1 << bits) - 1) - 7) * 0.1
    made = layer(x)
    with torch.no_grad():
        before.weight.copy_(weight)
        torch.testing.assert_close(made, before(rounded))
    made.square().sum().backward()
    before(rounded).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, before.weight.grad)
    torch.testing.assert_close(layer.bias.grad, before.bias.grad)


def test_in_autocast_rounding_is_not_made_coarser() -> None:
    """bfloat16 would hold no code above 256 steps exactly; here every code of a float32 activation is hit."""
    layer = quantizer(8, 1 / 64, 0)
    x = torch.arange(256) / 64
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), x)


def test_a_range_that_was_not_set_is_an_error_where_it_is_read() -> None:
    layer = QuantizedConv2d(3, 4, 1, bits=8)
    with pytest.raises(Error, match="range is not set"):
        layer.activation.constants()


def test_other_bits_are_refused() -> None:
    with pytest.raises(Error, match="4 or 8 bits"):
        QuantizedConv2d(3, 4, 1, bits=5)


def test_training_finds_the_step() -> None:
    """From ten times the best one: the step shrinks until it fits normal numbers, and loses less."""
    torch.manual_seed(0)
    x, layer = torch.randn(4096), quantizer(4, 3.0, 8)
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)

    def lost() -> Tensor:
        return F.mse_loss(layer(x), x)

    first = lost().item()
    for _ in range(300):
        optimizer.zero_grad()
        lost().backward()
        optimizer.step()
    assert lost().item() < first / 20
    assert 0.25 < layer.constants()[0] < 0.45  # the best uniform step for 16 codes of a normal number is 0.335
