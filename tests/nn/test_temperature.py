"""Progressive binarization by a temperature: values, schedule, checkpoints and export."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from netsuke import Error
from netsuke.lowering.capture import capture
from netsuke.lowering.freeze import freeze
from netsuke.nn import (
    BinaryConv2d,
    RSign,
    ScaledTemperatureWeight,
    TemperatureWeight,
    binarize_weights,
    keep_weights_float,
    progressive,
)


def layer(**arguments: float) -> BinaryConv2d:
    return BinaryConv2d(4, 8, 3, padding=1, bias=False, binary_a=RSign(4), binary_w=TemperatureWeight(**arguments))


def test_values_and_gradient_by_hand() -> None:
    binarizer = TemperatureWeight().double()
    binarizer.temperature.fill_(0.5)
    weight = torch.tensor([[-2.0, -0.5, -0.125, 0.0], [0.25, 0.5, 1.6, 1e-9]], dtype=torch.float64, requires_grad=True)
    values = binarizer.values(weight)
    assert values.tolist() == [[-1, -1, -0.25, 0], [0.5, 1, 1, 2e-9]]
    upstream = torch.arange(8, dtype=torch.float64).view(2, 4)
    values.backward(upstream)
    assert weight.grad is not None
    assert torch.equal(weight.grad, upstream)  # everywhere: the estimator does not clip
    assert weight.tolist() == [[-1.5, -0.5, -0.125, 0], [0.25, 0.5, 1.5, 1e-9]]  # clamped: it is in training
    binarizer.temperature.fill_(9e-8)
    assert binarizer.values(weight).tolist() == [[-1, -1, -1, 1], [1, 1, 1, 1]]


def test_evaluation_leaves_the_latent_weights_alone() -> None:
    conv = layer().eval()
    with torch.no_grad():
        conv.weight.fill_(7.0)
    conv(torch.randn(1, 4, 5, 5))
    assert bool((conv.weight == 7).all())


@pytest.mark.parametrize(("hard_below", "epoch"), [(1e-7, 153), (1e-5, 110)])
def test_the_schedule_is_the_published_one(hard_below: float, epoch: int) -> None:
    """T = 0.9^epoch in a run of 512; the first epoch with signs is 153 (BNext-18: 110)."""
    binarizer = TemperatureWeight(hard_below).double()
    first = None
    for e in range(512):
        binarizer.set_progress(e / 512)
        torch.testing.assert_close(binarizer.temperature.item(), 0.9**e, rtol=1e-12, atol=0)
        if first is None and bool((binarizer(torch.full((1, 1), 1e-12, dtype=torch.float64)).sign == 1).all()):
            first = e
    assert first == epoch


@pytest.mark.parametrize("epochs", [2, 3, 10, 60])
def test_the_last_epoch_of_any_run_is_two_valued(epochs: int) -> None:
    conv = layer()
    values = []
    for epoch in range(epochs):
        assert progressive(conv, epoch / epochs) == 2
        values.append(conv.binary_w.values(conv.weight).detach())
    assert bool((values[0].abs() < 1).any())
    assert bool((values[-1].abs() == 1).all())


@pytest.mark.parametrize("progress", [-0.1, 1.1, float("nan")])
def test_progress_is_a_share(progress: float) -> None:
    with pytest.raises(Error, match="progress"):
        progressive(layer(), progress)


def test_a_checkpoint_carries_the_temperature() -> None:
    conv, other = layer(), layer()
    progressive(conv, 0.1)
    other.load_state_dict(conv.state_dict())
    assert torch.equal(other.binary_w.temperature, conv.binary_w.temperature)
    names = list(conv.state_dict())
    keep_weights_float(conv)  # step one of two-step training: names and the waiting binarizer's tensors stay
    assert list(conv.state_dict()) == names
    again = copy.deepcopy(conv).double().requires_grad_(False)
    progressive(again, 1.0)
    assert again.state_dict()["binary_w.temperature"].item() == again.binary_w.later.temperature.item() < 1e-20
    binarize_weights(again)
    assert bool((again.binary_w.values(again.weight).abs() == 1).all())
    assert conv.state_dict()["binary_w.temperature"].item() > 1e-3


def test_export_refuses_weights_that_are_still_between_and_says_what_to_do() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), layer())
    progressive(model, 0.05)
    x = torch.randn(2, 3, 6, 6)
    with pytest.raises(
        Error, match=r"layer '1' cannot .* temperature is 0\.067.*netsuke\.nn\.progressive\(model, 1\)"
    ) as e:
        capture(model, x)
    assert len(str(e.value).splitlines()) == 1
    progressive(model, 1)
    assert freeze(model)(x).shape == (2, 8, 6, 6)


def test_what_is_exported_is_what_the_layer_computes() -> None:
    torch.manual_seed(0)
    conv = layer().eval()
    nn.init.normal_(conv.binary_a.bias)
    progressive(conv, 1)
    with torch.no_grad():
        conv.weight.view(-1)[::7] = 0  # sign(0) = +1
    x = torch.randn(3, 4, 6, 6)
    assert torch.equal(freeze(conv)(x), conv(x))


def test_scaled_values_and_gradient_by_hand() -> None:
    binarizer = ScaledTemperatureWeight().double()
    binarizer.temperature.fill_(0.5)
    weight = torch.tensor([[-2.0, -0.5, -0.25, 0.0], [0.25, 0.5, 0.75, 0.5]], dtype=torch.float64, requires_grad=True)
    values = binarizer.values(weight)  # mean |w| 0.6875 and 0.5
    assert values.tolist() == [[-0.6875, -0.6875, -0.34375, 0], [0.25, 0.5, 0.5, 0.5]]
    values.backward(torch.tensor([[1.0, 2.0, 0.0, 3.0], [1.0, 0.0, 0.0, 0.0]], dtype=torch.float64))
    assert weight.grad is not None
    # alpha where |w| <= 1, and the sum of upstream * sign, -3 and 0.5, over 4 by the sign of w
    assert weight.grad.tolist() == [[0.75, 2.125, 0.75, 2.0625], [0.625, 0.125, 0.125, 0.125]]
    assert weight.tolist()[0][0] == -2  # not clamped
    assert binarizer.eval().values(weight).tolist() == [[-0.6875, -0.6875, -0.6875, 0.6875], [0.5] * 4]
    binarizer.set_progress(0.5)
    assert binarizer.temperature.item() == pytest.approx(0.965**200)
