"""Ternary weights: the equations of Zhu et al. 2017 by hand, and what training leaves of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from netsuke import Error
from netsuke.nn import Ternary, bake, ternarized
from netsuke.nn.quantized import TERNARY_MOST, is_ternary, quantize_weight


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_forward_and_gradients_by_hand() -> None:
    latent = numbers(-1.0, -0.3, -0.2, 0.0, 0.1, 0.2, 0.5)
    positive, negative = numbers(2.0), numbers(3.0)
    made = ternarized(latent, positive[0], negative[0], torch.tensor(0.2, dtype=torch.float64))
    assert made.tolist() == [-3, -3, 0, 0, 0, 0, 2]  # at the threshold itself it is 0
    dw = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0], dtype=torch.float64)
    made.backward(dw)
    assert latent.grad is not None
    assert latent.grad.tolist() == [3, 6, 4, 8, 16, 32, 128]
    assert positive.grad is not None
    assert positive.grad.item() == 64
    assert negative.grad is not None
    assert negative.grad.item() == -3  # -(1 + 2): the derivative of -W_n, which the paper prints without the sign


def test_the_scales_have_the_true_gradient() -> None:
    """Of what is computed: the finite difference, since the zones do not move with W_p and W_n."""
    torch.manual_seed(0)
    latent = torch.randn(40, dtype=torch.float64)
    of = torch.randn(40, dtype=torch.float64)
    delta = torch.tensor(0.3, dtype=torch.float64)
    scales = [torch.tensor(1.3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda p, n: (ternarized(latent, p, n, delta) * of).sum(), scales)


def test_it_starts_near_the_weights() -> None:
    weight = torch.tensor([[0.5, 0.3, 0.01], [-0.2, -0.02, 0.1]])
    form = Ternary(weight, threshold=0.1)  # 0.05: three above, one below
    assert form.delta(weight).item() == pytest.approx(0.05)
    assert form.scale.item() == pytest.approx((0.5 + 0.3 + 0.1 + 0.2) / 4)
    made = form(weight).detach()
    torch.testing.assert_close(made, torch.tensor([[0.3, 0.3, 0.0], [-0.2, 0.0, 0.3]]))
    assert not bool(made.signbit()[made == 0].any())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9])
def test_sparsity_makes_that_share_of_zeros(share: float) -> None:
    torch.manual_seed(0)
    weight = torch.randn(20, 10, 1, 1)
    form = Ternary(weight, None, share)
    assert (form(weight) == 0).float().mean().item() == pytest.approx(share)
    assert str(form) == f"Ternary(sparsity={share})"


def test_scales_and_latent_weights_train() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    parametrize.register_parametrization(layer, "weight", Ternary(layer.weight.detach()))
    form = layer.parametrizations.weight[0]
    start = [p.detach().clone() for p in layer.parameters()]
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(5):
        optimizer.zero_grad()
        (layer(torch.randn(8, 6)) - 1).square().mean().backward()
        optimizer.step()
    assert all(not torch.equal(a, b.detach()) for a, b in zip(start, layer.parameters(), strict=True))
    made = layer.weight.detach().clone()
    assert set(made.unique().tolist()) <= {
        0.0,
        (form.scale * form.positive).item(),
        -(form.scale * form.negative).item(),
    }
    bake(layer)
    assert torch.equal(layer.weight, made)


def test_a_layer_of_zeros_stays_one() -> None:
    weight = torch.zeros(4, 4)
    assert not bool(Ternary(weight)(weight).any())


@pytest.mark.parametrize(
    ("threshold", "sparsity", "match"),
    [
        (0.05, 0.3, "one of threshold and sparsity"),
        (None, None, "one of threshold and sparsity"),
        (1.0, None, "the threshold is 1.0"),
        (-0.1, None, "the threshold is -0.1"),
        (None, 1.0, "the sparsity is 1.0"),
        (float("nan"), None, "the threshold is nan"),
    ],
)
def test_what_is_refused(threshold: float | None, sparsity: float | None, match: str) -> None:
    with pytest.raises(Error, match=match):
        Ternary(torch.randn(4, 4), threshold, sparsity)


def test_in_8_bits_three_codes_remain() -> None:
    torch.manual_seed(0)
    weight = torch.randn(8, 4, 3, 3)
    made = Ternary(weight)(weight).detach()
    assert is_ternary(made)
    codes, scale = quantize_weight(made)
    positive, negative = made.max(), -made.min()
    larger = torch.maximum(positive, negative)
    assert scale.unique().numel() == 1
    wanted = {round(TERNARY_MOST * (positive / larger).item()), 0, -round(TERNARY_MOST * (negative / larger).item())}
    assert set(codes.unique().tolist()) == wanted
    values = codes.float() * scale.view(-1, 1, 1, 1)
    assert (values - made).abs().max() <= larger / TERNARY_MOST / 2 * 1.0001
    again, same = quantize_weight(values)
    assert torch.equal(again, codes)
    torch.testing.assert_close(same, scale)


def test_other_weights_have_a_scale_a_channel() -> None:
    torch.manual_seed(0)
    weight = torch.randn(8, 4, 3, 3)
    assert not is_ternary(weight)
    assert quantize_weight(weight)[1].unique().numel() == 8
    assert not is_ternary(torch.ones(2, 2))  # too few to say so
