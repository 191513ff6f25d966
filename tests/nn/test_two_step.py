"""Two-step training: float weights under binary activations, then binary weights from the same place."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch.nn.functional import conv2d, linear

import netsuke
from netsuke import Error
from netsuke.models import load_weights
from netsuke.nn import BinaryConv2d, BinaryLinear, progressive
from netsuke.nn.two_step import FloatWeight, binarize_weights, keep_weights_float


def test_step_one_computes_with_float_weights_and_binary_activations() -> None:
    torch.manual_seed(0)
    conv, full = BinaryConv2d(3, 4, 3, padding=1), BinaryLinear(6, 5)
    x, v = torch.randn(2, 3, 5, 5), torch.randn(2, 6)
    before = conv(x), full(v)
    assert keep_weights_float(torch.nn.ModuleList([conv, full])) == 2
    torch.testing.assert_close(conv(x), conv2d(conv.binary_a(x), conv.weight, conv.bias, padding=1))
    torch.testing.assert_close(full(v), linear(full.binary_a(v), full.weight, full.bias))
    assert not torch.equal(conv(x), before[0])
    assert binarize_weights(torch.nn.ModuleList([conv, full])) == 2
    assert torch.equal(conv(x), before[0])
    assert torch.equal(full(v), before[1])


def test_the_weight_has_its_plain_gradient() -> None:
    torch.manual_seed(0)
    conv = BinaryConv2d(2, 3, 3, bias=False)
    keep_weights_float(conv)
    x = torch.randn(2, 2, 4, 4)
    conv(x).square().sum().backward()
    weight = conv.weight.detach().clone().requires_grad_()
    conv2d(conv.binary_a(x).detach(), weight).square().sum().backward()
    assert conv.weight.grad is not None
    torch.testing.assert_close(conv.weight.grad, weight.grad)


def test_doing_it_twice_is_doing_it_once() -> None:
    model = netsuke.create_model("adabin_resnet20")
    kept = [m.binary_w for m in model.modules() if isinstance(m, BinaryConv2d)]
    assert [keep_weights_float(model), keep_weights_float(model)] == [18, 18]
    progressive(model, 1.0)  # reaches the binarizers that wait
    assert [binarize_weights(model), binarize_weights(model)] == [18, 0]
    after = [m.binary_w for m in model.modules() if isinstance(m, BinaryConv2d)]
    assert all(a is b for a, b in zip(kept, after, strict=True))
    assert {b.t for b in after} == {10.0}


def test_step_two_starts_from_a_checkpoint_of_step_one(tmp_path: Path) -> None:
    model = netsuke.create_model("adabin_resnet20", seed=1)
    names = list(model.state_dict())
    keep_weights_float(model)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimiser.step()
    assert list(model.state_dict()) == names
    torch.save(model.state_dict(), tmp_path / "one.pt")
    two = load_weights(netsuke.create_model("adabin_resnet20"), tmp_path / "one.pt").eval()
    assert not any(isinstance(m, FloatWeight) for m in two.modules())
    binarize_weights(model.eval())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(two(images), model(images))


def test_float_weights_cannot_be_exported(tmp_path: Path) -> None:
    model = netsuke.create_model("adabin_resnet20").eval()
    step_one = copy.deepcopy(model)
    keep_weights_float(step_one)
    images = torch.randn(2, 3, 32, 32)
    with pytest.raises(Error, match="not -1 or \\+1"):
        netsuke.export(step_one, images, tmp_path / "a.netsuke")
    assert not (tmp_path / "a.netsuke").exists()
