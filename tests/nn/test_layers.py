"""Binary layers and Maxout."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from netsuke.nn import AdaBinActivation, AdaBinWeight, BinaryConv2d, BinaryLinear, Maxout, Sign


def explicit_weight(layer: BinaryConv2d | BinaryLinear) -> torch.Tensor:
    """The binarized weight, filter by filter, from the definition."""
    filters = []
    for w in layer.weight.detach():
        beta = w.mean()
        alpha = (w - beta).square().mean().sqrt()
        filters.append(torch.where(w - beta >= 0, beta + alpha, beta - alpha))
    return torch.stack(filters)


@given(
    st.integers(0, 999),
    st.sampled_from([1, 2, 3]),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(0, 2),
    st.booleans(),
)
def test_conv_is_a_convolution_of_the_binary_sets(
    seed: int, groups: int, kernel: int, stride: int, padding: int, bias: bool
) -> None:
    torch.manual_seed(seed)
    layer = BinaryConv2d(
        6, 6, kernel, stride, padding, groups=groups, bias=bias, binary_a=AdaBinActivation("published")
    ).double()
    with torch.no_grad():
        layer.binary_a.alpha_a.fill_(0.5)
        layer.binary_a.beta_a.fill_(0.25)
    x = torch.randn(2, 6, 5, 6, dtype=torch.float64)
    a = torch.where(x >= 0.25, 0.5 * 1.25, 0.5 * -0.75).double()
    # Padding is a real zero: it comes after binarizing.
    expected = F.conv2d(a, explicit_weight(layer), layer.bias, stride, padding, 1, groups)
    torch.testing.assert_close(layer(x), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("padding", [1, (2, 0), "same"])
@pytest.mark.parametrize("center", ["paper", "published"])
def test_padding_that_counts(center: str, padding: int | str | tuple[int, int]) -> None:
    """The binary set's upper number, or the nearest pixel, around the binarized input; gradients reach both numbers."""
    torch.manual_seed(0)
    images = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    above, below = ((2, 2), (0, 0)) if padding == (2, 0) else ((1, 1), (1, 1))
    pads = (*below, *above)  # left, right, top, bottom
    for mode in ("ones", "replicate"):
        layer = BinaryConv2d(
            4, 6, 3, 1, padding, padding_mode=mode, groups=2, binary_a=AdaBinActivation(center)
        ).double()  # fmt: skip
        alpha, beta = layer.binary_a.alpha_a, layer.binary_a.beta_a
        with torch.no_grad():
            alpha.fill_(0.5), beta.fill_(0.25)
        x = images.clone().requires_grad_()
        a = layer.binary_a(x)
        if mode == "replicate":
            around = F.pad(a, pads, mode="replicate")
        else:
            inside = F.pad(torch.ones_like(a), pads)
            one = alpha + (alpha * beta if center == "published" else beta)
            around = torch.where(inside == 1, F.pad(a, pads), one)
        expected = F.conv2d(around, explicit_weight(layer), layer.bias, 1, 0, 1, 2)
        found = layer(x)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
        grad = torch.randn_like(found)
        over = [x, alpha, beta]
        for ours, theirs in zip(
            torch.autograd.grad(found, over, grad), torch.autograd.grad(expected, over, grad), strict=True
        ):
            torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


def test_a_zero_padded_before_it_is_binarized_is_a_padding_of_ones() -> None:
    layer = BinaryConv2d(3, 4, 3, 2, 1, bias=False, padding_mode="ones", binary_a=Sign())
    bare = BinaryConv2d(3, 4, 3, 2, bias=False, binary_a=Sign())
    bare.weight = layer.weight
    x = torch.randn(2, 3, 6, 5)
    torch.testing.assert_close(layer(x), bare(F.pad(x, (1, 1, 1, 1))), atol=0, rtol=0)
    assert "padding_mode=ones" in str(layer)


def test_linear_is_a_product_of_the_binary_sets() -> None:
    layer = BinaryLinear(7, 4).double()
    x = torch.randn(3, 7, dtype=torch.float64)
    expected = F.linear(torch.where(x >= 0, 1.0, -1.0).double(), explicit_weight(layer), layer.bias)
    torch.testing.assert_close(layer(x), expected, atol=1e-12, rtol=0)


def test_parameters_have_the_published_names() -> None:
    names = set(dict(BinaryConv2d(4, 4, 3, bias=False).named_parameters()))
    assert names == {"weight", "binary_a.alpha_a", "binary_a.beta_a"}
    assert set(Maxout(3).state_dict()) == {"neg_scale", "pos_scale"}


@pytest.mark.parametrize("padding", [1, "same", "valid"])
def test_from_float_takes_over_the_parameters(padding: int | str) -> None:
    conv = nn.Conv2d(4, 8, 3, 1, padding, groups=2).double().eval()
    layer = BinaryConv2d.from_float(conv, AdaBinActivation(), AdaBinWeight())
    assert layer.weight is conv.weight
    assert layer.bias is conv.bias
    assert not layer.training
    x = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    assert layer(x).shape == conv(x).shape
    assert layer(x).dtype == torch.float64
    linear = nn.Linear(4, 8, bias=False)
    binary = BinaryLinear.from_float(linear, AdaBinActivation(), AdaBinWeight())
    assert binary.weight is linear.weight
    assert binary.bias is None


def test_training_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(BinaryConv2d(3, 8, 3), Maxout(8), nn.Flatten(), BinaryLinear(8 * 16, 5))
    before = copy.deepcopy(model.state_dict())
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    loss = F.cross_entropy(model(torch.randn(16, 3, 6, 6)), torch.arange(16) % 5)
    loss.backward()
    optimiser.step()
    for name, tensor in model.state_dict().items():
        assert not torch.equal(tensor, before[name]), name


def test_training_lowers_the_loss() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(BinaryConv2d(1, 16, 3), nn.BatchNorm2d(16), Maxout(16), nn.Flatten(), nn.Linear(16 * 16, 2))
    images = torch.randn(64, 1, 6, 6)
    labels = (images[:, 0, 2, 2] > 0).long()
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


# ------------------------------------------------------------------------------------------- Maxout
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4, 5)])
def test_maxout_is_two_relus(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = Maxout(3).double()
    with torch.no_grad():
        module.neg_scale.copy_(torch.tensor([0.25, -0.5, 0.0]))
        module.pos_scale.copy_(torch.tensor([1.0, 2.0, -1.0]))
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(shape, dtype=torch.float64)
    module(x).backward(upstream)
    ours = [module(x).detach(), x.grad, module.pos_scale.grad, module.neg_scale.grad]

    again = x.detach().clone().requires_grad_()
    positive = module.pos_scale.detach().clone().requires_grad_()
    negative = module.neg_scale.detach().clone().requires_grad_()
    view = (1, 3) + (1,) * (len(shape) - 2)
    y = positive.view(view) * F.relu(again) - negative.view(view) * F.relu(-again)
    y.backward(upstream)
    for got, expected in zip(ours, [y.detach(), again.grad, positive.grad, negative.grad], strict=True):
        assert got is not None
        torch.testing.assert_close(got, expected, atol=1e-9, rtol=0)


def test_maxout_starts_at_one_and_a_quarter() -> None:
    assert Maxout(2)(torch.tensor([[2.0, -2.0]])).tolist() == [[2.0, -0.5]]
