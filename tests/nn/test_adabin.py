"""AdaBin's binarizers against formulas worked out by hand (Tu et al. 2022, sections 3.2 and 3.3), in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from netsuke import Error
from netsuke.nn import AdaBinActivation, AdaBinWeight, progressive, sign_ede, sign_piecewise_quadratic

TOLERANCE = 1e-9


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# ------------------------------------------------------------------------------------------- weights
@pytest.mark.parametrize("progress", [0.0, 0.3, 0.8, 1.0])
def test_weight_forward_and_gradient(progress: float) -> None:
    """With u = (w - beta) / alpha, n weights a filter and G the gradient of alpha * s + beta, by hand:

    g_i = G_i alpha k t (1 - tanh(t u_i)^2)
    dL/dw_j = (g_j - mean(g) - u_j mean(g u)) / alpha + u_j mean(G s) + mean(G)
    """
    w, upstream = random(1, 5, 3, 2, 2), random(2, 5, 3, 2, 2)
    t = 10 ** (-3 + 4 * progress)
    k = max(1 / t, 1)
    binarizer = AdaBinWeight()
    progressive(binarizer, progress)
    latent = torch.tensor(w, requires_grad=True)
    result = binarizer(latent)
    (result.alpha.view(-1, 1, 1, 1) * result.sign + result.beta.view(-1, 1, 1, 1)).backward(torch.tensor(upstream))
    assert latent.grad is not None
    for o in range(5):
        flat, big_g = w[o].ravel(), upstream[o].ravel()
        beta = sum(flat) / 12
        alpha = (sum((v - beta) ** 2 for v in flat) / 12) ** 0.5
        u = (flat - beta) / alpha
        s = np.where(u >= 0, 1, -1)
        g = big_g * alpha * k * t * (1 - np.tanh(t * u) ** 2)
        expected = (g - g.mean() - u * (g * u).mean()) / alpha + u * (big_g * s).mean() + big_g.mean()
        np.testing.assert_allclose(result.alpha[o].item(), alpha, atol=TOLERANCE)
        np.testing.assert_allclose(result.beta[o].item(), beta, atol=TOLERANCE)
        np.testing.assert_array_equal(result.sign[o].detach().numpy().ravel(), s)
        np.testing.assert_allclose(latent.grad[o].numpy().ravel(), expected, atol=TOLERANCE)


def test_the_mean_itself_has_sign_plus_one() -> None:
    result = AdaBinWeight()(torch.tensor([[-1.0, 0.0, 1.0]]))
    assert result.sign.tolist() == [[-1, 1, 1]]


@pytest.mark.parametrize("value", [0.0, 1.5, -2.0])
def test_a_constant_filter_is_all_ones_without_nan(value: float) -> None:
    latent = torch.full((1, 2, 3, 3), value, requires_grad=True)
    result = AdaBinWeight()(latent)
    assert result.alpha.item() == 0
    assert result.beta.item() == value
    assert (result.sign == 1).all()
    (result.alpha.sum() + result.beta.sum() + result.sign.sum()).backward()
    assert latent.grad is not None
    assert torch.isfinite(latent.grad).all()


@pytest.mark.parametrize(("progress", "t", "k"), [(0, 1e-3, 1e3), (0.5, 0.1, 10), (0.75, 1, 1), (1, 10, 1)])
def test_progressive_sets_every_binarizer(progress: float, t: float, k: float) -> None:
    modules = nn.ModuleList([AdaBinWeight(), AdaBinActivation(), AdaBinWeight()])
    assert progressive(modules, progress) == 3
    for module in (modules[0], modules[2]):
        assert module.t == pytest.approx(t)
        assert module.k == pytest.approx(k)


@pytest.mark.parametrize("progress", [-0.1, 1.1])
def test_progress_outside_training_is_refused(progress: float) -> None:
    with pytest.raises(Error, match="progress"):
        progressive(AdaBinWeight(), progress)


# ------------------------------------------------------------------------------------------- signs
def test_sign_gradients() -> None:
    x = torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.25, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    out = sign_piecewise_quadratic(x)
    out.sum().backward()
    assert out.tolist() == [-1, -1, -1, 1, 1, 1, 1]
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [0, 0, 1, 2, 1.5, 0, 0], atol=TOLERANCE)

    y = torch.tensor([-0.7, 0.0, 0.2], dtype=torch.float64, requires_grad=True)
    out = sign_ede(y, 2.0, 3.0)
    out.sum().backward()
    assert out.tolist() == [-1, 1, 1]
    assert y.grad is not None
    np.testing.assert_allclose(y.grad.numpy(), [6 / np.cosh(3 * v) ** 2 for v in (-0.7, 0.0, 0.2)], atol=TOLERANCE)


# ------------------------------------------------------------------------------------------- activations
@pytest.mark.parametrize("center", ["paper", "published"])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.4, 0.3), (-0.7, 0.2), (2.5, -1.0)])
def test_activation_forward_and_gradient(center: str, alpha: float, beta: float) -> None:
    """paper: a = alpha s + beta. published: a = alpha (s + beta). u = (x - beta) / alpha, f' = max(2 - 2|u|, 0)."""
    x, upstream = random(3, 2, 3, 4, 5), random(4, 2, 3, 4, 5)
    module = AdaBinActivation(center).double()
    with torch.no_grad():
        module.alpha_a.fill_(alpha)
        module.beta_a.fill_(beta)
    alpha, beta = module.alpha_a.item(), module.beta_a.item()
    tensor = torch.tensor(x, requires_grad=True)
    result = module(tensor)
    result.backward(torch.tensor(upstream))

    u = (x - beta) / alpha
    s = np.where(u >= 0, 1.0, -1.0)
    slope = np.maximum(2 - 2 * np.abs(u), 0)
    if center == "paper":
        forward, by_alpha, by_beta = alpha * s + beta, s - u * slope, 1 - slope
    else:
        forward, by_alpha, by_beta = alpha * (s + beta), s + beta - u * slope, alpha - slope
    np.testing.assert_allclose(result.detach().numpy(), forward, atol=TOLERANCE)
    assert tensor.grad is not None
    assert module.alpha_a.grad is not None
    assert module.beta_a.grad is not None
    np.testing.assert_allclose(tensor.grad.numpy(), upstream * slope, atol=TOLERANCE)
    np.testing.assert_allclose(module.alpha_a.grad.item(), (upstream * by_alpha).sum(), atol=TOLERANCE)
    np.testing.assert_allclose(module.beta_a.grad.item(), (upstream * by_beta).sum(), atol=TOLERANCE)


def test_activation_gradient_is_that_of_its_smooth_stand_in() -> None:
    """Bi-Real's slope is the derivative of 2u - u|u| inside [-1, 1]: autograd of that form, its value swapped."""
    x = torch.tensor(random(5, 64), requires_grad=True)
    module = AdaBinActivation("published").double()
    with torch.no_grad():
        module.alpha_a.fill_(0.6)
        module.beta_a.fill_(0.1)
    upstream = torch.tensor(random(6, 64))
    module(x).backward(upstream)
    ours = [x.grad, module.alpha_a.grad, module.beta_a.grad]

    alpha = module.alpha_a.detach().clone().requires_grad_()
    beta = module.beta_a.detach().clone().requires_grad_()
    again = x.detach().clone().requires_grad_()
    u = (again - beta) / alpha
    smooth = torch.where(u.abs() < 1, 2 * u - u * u.abs(), torch.sign(u))
    (alpha * (smooth + (torch.sign(u) - smooth).detach() + beta)).backward(upstream)
    for got, expected in zip(ours, [again.grad, alpha.grad, beta.grad], strict=True):
        assert got is not None
        assert expected is not None
        np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=TOLERANCE)


def test_the_threshold_itself_is_plus_one() -> None:
    module = AdaBinActivation()
    with torch.no_grad():
        module.beta_a.fill_(0.25)
    assert module(torch.tensor([0.25, 0.2499])).tolist() == [1.25, -0.75]
    with torch.no_grad():
        module.alpha_a.fill_(-1.0)  # s = +1 below the threshold and at it
    assert module(torch.tensor([0.25, 0.3])).tolist() == [-0.75, 1.25]


def test_activation_saves_its_input_and_two_scalars() -> None:
    saved: list[torch.Tensor] = []
    x = torch.randn(2, 8, 16, 16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        AdaBinActivation()(x)
    assert sorted(t.numel() for t in saved) == [1, 1, x.numel()]
    assert max(saved, key=lambda t: t.numel()).data_ptr() == x.data_ptr()


@pytest.mark.parametrize("center", ["paper", "published"])
def test_constants_describe_the_forward(center: str) -> None:
    module = AdaBinActivation(center)
    with torch.no_grad():
        module.alpha_a.fill_(-0.3)
        module.beta_a.fill_(0.8)
    x = torch.linspace(-2, 2, 41)
    threshold, alpha, gamma = module.constants()
    signs = torch.where((x - threshold) / alpha >= 0, 1.0, -1.0)
    torch.testing.assert_close(module(x), alpha * signs + gamma)


@pytest.mark.parametrize("alpha", [0.0, float("nan"), float("inf")])
def test_no_binary_set_is_refused(alpha: float) -> None:
    module = AdaBinActivation()
    with torch.no_grad():
        module.alpha_a.fill_(alpha)
    with pytest.raises(Error, match="alpha_a"):
        module.constants()


def test_unknown_center_is_refused() -> None:
    with pytest.raises(Error, match="center"):
        AdaBinActivation("middle")


# ------------------------------------------------------------------------------------------- calibration
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 0.9), st.floats(0.1, 4), st.floats(0, 3))
def test_calibration_splits_what_can_be_split(seed: int, zeros: float, spread: float, tail: float) -> None:
    """Zeros as behind a ReLU, and a heavy tail: never over 95 % equal bits, unless so many values are equal."""
    generator = np.random.default_rng(seed)
    values = np.abs(generator.normal(size=2000)) * spread * np.exp(tail * generator.normal(size=2000))
    values[generator.random(2000) < zeros] = 0
    x = torch.tensor(values, dtype=torch.float32)
    module = AdaBinActivation()
    module.calibrate(x)
    ones = (x >= module.beta_a).float().mean().item()
    assert 0.05 < ones < 0.95


def test_calibration_gives_the_best_half_distance() -> None:
    x = torch.tensor(random(7, 4000)).float() * 0.5 + 2
    module = AdaBinActivation()
    module.calibrate(x)
    error = (module(x) - x).square().mean().item()
    for factor in (0.95, 1.05):
        other = AdaBinActivation()
        with torch.no_grad():
            other.beta_a.copy_(module.beta_a)
            other.alpha_a.copy_(module.alpha_a * factor)
        assert (other(x) - x).square().mean().item() > error


def test_calibration_on_equal_values_stays_a_binary_set() -> None:
    module = AdaBinActivation()
    module.calibrate(torch.full((8,), 3.0))
    assert module.constants().alpha != 0


def test_calibration_refuses_nan() -> None:
    with pytest.raises(Error, match="finite"):
        AdaBinActivation().calibrate(torch.tensor([1.0, float("nan")]))
