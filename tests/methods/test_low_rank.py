"""Low rank: the fits against independent derivations, ranks, structure, export, and what is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netsuke
from netsuke import Error, artifact
from netsuke.analyze.count import work_of
from netsuke.cli.counterpart import write_onnx
from netsuke.engine import available_isas
from netsuke.methods.behind import behind
from netsuke.methods.factors import split_window
from netsuke.methods.ranks import Choice, choose_ranks
from netsuke.methods.reconstruct import Fit, error, linear, nonlinear, relu_minimiser

torch.set_num_threads(1)
IMAGES = torch.randn(40, 3, 12, 12, generator=torch.Generator().manual_seed(5))


def responses(n: int = 300, d: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """T, and a distorted Y that T depends on; with means, and energies that fall."""
    random = torch.Generator().manual_seed(seed)
    mixed = torch.randn(n, d, generator=random, dtype=torch.float64) * torch.logspace(0, -1.5, d, dtype=torch.float64)
    T = mixed @ torch.randn(d, d, generator=random, dtype=torch.float64) + 0.3
    noise = torch.randn(n, d, generator=random, dtype=torch.float64)
    return T, T @ (torch.eye(d, dtype=torch.float64) + 0.2) + 0.3 * noise - 1.0


def vgg(norm: bool = True) -> nn.Sequential:
    """Convolutions as a VGG has them: one with a max pooling in front of its ReLU, one with no ReLU at all."""
    torch.manual_seed(1)
    parts: list[nn.Module] = []
    widths = (3, 16, 24, 24, 16)
    for i, (c, d) in enumerate(zip(widths, widths[1:], strict=False)):
        parts.append(nn.Conv2d(c, d, 3, padding=1, bias=not norm))
        parts += [nn.MaxPool2d(2)] if i == 1 else []
        parts += [nn.BatchNorm2d(d)] if norm else []
        parts += [nn.ReLU(inplace=True)] if i < 3 else []
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1.5, 2)
            nn.init.uniform_(module.running_var, 0.05, 1)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.normal_(module.bias, std=0.3)
    return model.eval()


def convolution_macs(model: nn.Module) -> int:
    layers = {name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    return sum(work.macs for work in work_of(model, IMAGES[:1]) if work.module in layers)


# ------------------------------------------------------------------------------------------------- the fits
@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_linear_fit_of_responses_to_themselves_is_their_principal_components(rank: int) -> None:
    T, _ = responses()
    fit = linear(T, T, rank)
    y = T.numpy()
    centred = y - y.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    projected = centred @ directions[:rank].T @ directions[:rank] + y.mean(0)
    np.testing.assert_allclose(fit(T).numpy(), projected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_reduced_rank_regression_is_the_best_of_its_rank(rank: int) -> None:
    T, Y = responses()
    found = error(T, linear(T, Y, rank)(Y), relu=False)
    # Independently: least squares by QR, then the truncated decomposition of what it fits (Eckart and Young).
    t, y = T.numpy(), Y.numpy()
    tc, yc = t - t.mean(0), y - y.mean(0)
    q, _ = np.linalg.qr(yc)
    fitted = q @ (q.T @ tc)
    values = np.linalg.svd(fitted, compute_uv=False)
    least = ((tc - fitted) ** 2).sum() + (values[rank:] ** 2).sum()
    assert found == pytest.approx(least, rel=1e-9)
    # No step from there makes it better, nor does another matrix of the rank.
    P, Q, b = (tensor.clone().requires_grad_() for tensor in linear(T, Y, rank))
    loss = (T - Fit(P, Q, b)(Y)).square().sum()
    for gradient in torch.autograd.grad(loss, (P, Q, b)):
        assert float(gradient.abs().max()) < 1e-8 * float(loss.detach())
    random = torch.Generator().manual_seed(1)
    for _ in range(50):
        near = [x.detach() + 0.01 * torch.randn(x.shape, generator=random, dtype=x.dtype) for x in (P, Q, b)]
        assert error(T, Fit(*near)(Y), relu=False) >= found


def test_a_direction_that_is_not_there_is_left_out() -> None:
    T, Y = responses()
    Y[:, 3], T[:, 2] = 2 * Y[:, 1], 7.0
    fit = linear(T, Y, 5)
    assert bool(torch.isfinite(fit.P @ fit.Q).all())
    assert float((fit(Y)[:, 2] - 7).abs().max()) < 1e-9


def test_the_minimiser_is_that_of_a_grid() -> None:
    grid = torch.linspace(-8, 8, 160_001, dtype=torch.float64)
    random = torch.Generator().manual_seed(3)
    for weight in (0.01, 0.1, 1.0, 10.0):
        wanted = torch.randn(40, generator=random, dtype=torch.float64).relu() * 2
        guess = torch.randn(40, generator=random, dtype=torch.float64) * 2
        made = relu_minimiser(wanted, guess, weight)

        def cost(z: Tensor, w: Tensor, g: Tensor, weight: float = weight) -> Tensor:
            return (w - z.relu()).square() + weight * (z - g).square()

        least = cost(grid, wanted[:, None], guess[:, None]).min(1).values
        own = cost(made, wanted, guess)
        assert bool((own <= least + 1e-12).all())
        assert float((own - least).abs().max()) < 1e-6


@pytest.mark.parametrize("rank", [1, 3, 6])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_the_nonlinear_fit_is_no_worse_than_the_linear_one_behind_a_relu(rank: int, asymmetric: bool) -> None:
    T, Y = responses()
    Y = Y if asymmetric else T
    before, after = (error(T, fit(T, Y, rank)(Y), relu=True) for fit in (linear, nonlinear))
    assert after < before  # responses below 0 need no care
    assert nonlinear(T, Y, rank)(Y).shape == T.shape


# ------------------------------------------------------------------------------------------------- ranks
def simple_greedy(energies: Mapping[str, list[float]], prices: Mapping[str, int], budget: float) -> dict[str, int]:
    """The paper's words, without a heap: C = sum of d' times a price; always the least (de/e)/dC goes."""
    ranks = {name: len(values) for name, values in energies.items()}
    while sum(ranks[name] * prices[name] for name in ranks) > budget:
        losses = {
            name: energies[name][r - 1] / sum(energies[name][:r]) / prices[name] for name, r in ranks.items() if r > 1
        }
        ranks[min(losses, key=lambda name: losses[name])] -= 1
    return ranks


@pytest.mark.parametrize("speedup", [1.3, 2, 4, 9])
def test_ranks_are_those_of_a_simple_greedy(speedup: float) -> None:
    random = np.random.default_rng(0)
    energies = {f"l{i}": np.sort(random.exponential(1, d) ** 3)[::-1].copy() for i, d in enumerate((12, 30, 7, 21))}
    prices = {"l0": 40, "l1": 11, "l2": 300, "l3": 25}
    whole = 10**9  # so dear that any rank pays
    choices = {name: Choice(torch.from_numpy(e), prices[name], 0, whole) for name, e in energies.items()}
    budget = sum(len(e) * prices[name] for name, e in energies.items()) / speedup
    found = choose_ranks(choices, budget)
    assert found == simple_greedy({name: e.tolist() for name, e in energies.items()}, prices, budget)
    assert sum(choices[name].cost(rank) for name, rank in found.items()) <= budget
    assert choices["l0"].kept(5) == pytest.approx(energies["l0"][:5].sum() / energies["l0"].sum())


def test_a_rank_that_does_not_pay_costs_as_much_as_the_whole_layer() -> None:
    choice = Choice(torch.ones(8), price=10, base=5, whole=45)
    assert [choice.cost(rank) for rank in (1, 3, 4, 8)] == [15, 35, 45, 45]
    assert [choice.pays(rank) for rank in (3, 4)] == [True, False]
    assert choose_ranks({"a": choice}, 1) == {"a": 1}  # the caller sees that this is too much


@pytest.mark.parametrize("reconstruction", ["linear", "nonlinear", "asymmetric", "3d"])
@pytest.mark.parametrize("speedup", [1.5, 3])
def test_the_budget_is_met_as_counted_apart_and_the_report_says_so(reconstruction: str, speedup: float) -> None:
    model = vgg()
    made = netsuke.low_rank(model, IMAGES, speedup, reconstruction)
    report = made.netsuke_report
    assert convolution_macs(model) / convolution_macs(made) == pytest.approx(report.speedup)
    assert speedup <= report.speedup < 1.25 * speedup
    whole = {name for name, why in report.skipped}
    assert {x.name for x in report.layers} | whole == {n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    assert all(x.macs[1] < x.macs[0] and 0 < x.energy <= 1 and 0 <= x.error < 1 for x in report.layers)
    for name in whole:
        assert torch.equal(made.get_submodule(name).weight, model.get_submodule(name).weight)
    assert f"{report.speedup:.2f}x fewer" in str(report)
    # The last convolution has no ReLU behind it.
    fits = {x.name: x.fit for x in report.layers}
    assert all(fit == ("linear" if reconstruction == "linear" else "nonlinear") for n, fit in fits.items() if n != "10")
    assert fits.get("10", "linear") == "linear"


def test_the_same_arguments_give_the_same_weights_and_the_model_is_left_alone() -> None:
    model = vgg().train()
    before = copy.deepcopy(model.state_dict())
    first, second = (netsuke.low_rank(model, IMAGES, 2, seed=3) for _ in range(2))
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in first.modules())
    batches = [(part, torch.zeros(len(part))) for part in IMAGES.split(64)]
    again = netsuke.low_rank(model, iter(batches), 2, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))


# ------------------------------------------------------------------------------------------------- networks
@pytest.mark.parametrize("reconstruction", ["linear", "nonlinear", "asymmetric", "3d"])
@pytest.mark.parametrize("norm", [False, True])
def test_full_rank_is_the_module(reconstruction: str, norm: bool) -> None:
    model = vgg(norm).double()
    ranks: dict[str, Any] = {
        n: len(m.weight) for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))
    }
    if reconstruction == "3d":
        ranks["0"] = (9, 16)
    made = netsuke.low_rank(model, IMAGES.double(), reconstruction=reconstruction, ranks=ranks)
    assert isinstance(made[0], nn.Sequential)
    torch.testing.assert_close(made(IMAGES.double()), model(IMAGES.double()), rtol=0, atol=1e-8)


def test_the_linear_reconstruction_is_the_projection_of_what_batch_norm_gives() -> None:
    model = vgg().double()
    made = netsuke.low_rank(model, IMAGES.double(), reconstruction="linear", ranks={"0": 5}, samples=10_000)
    with torch.no_grad():
        z, own = (m[1](m[0](IMAGES.double())).transpose(0, 1).flatten(1) for m in (model, made))
    # All pixels are drawn from, but with replacement: nearly the projection of all.
    centred = z - z.mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    least = float(values[:-5].sum())
    assert least <= float((z - own).square().sum()) < 1.05 * least


def test_dead_channels_of_a_batch_norm_do_no_harm() -> None:
    model = vgg().double()
    with torch.no_grad():
        model[1].weight[3] = 0
        model[1].weight[4] = 1e-30
    for reconstruction in ("linear", "3d"):
        ranks: dict[str, Any] = {"0": 14 if reconstruction == "linear" else (9, 14)}
        made = netsuke.low_rank(model, IMAGES.double(), reconstruction=reconstruction, ranks=ranks)
        torch.testing.assert_close(made(IMAGES.double()), model(IMAGES.double()), rtol=0, atol=1e-8)


def test_asymmetric_is_no_worse_on_a_stack_that_is_approximated() -> None:
    model = vgg().double()
    ranks = {"0": 5, "3": 7, "7": 6}
    images, errors = IMAGES.double(), {}
    with torch.no_grad():
        wanted = model[:10](images)
        for reconstruction in ("linear", "nonlinear", "asymmetric"):
            made = netsuke.low_rank(model, images, reconstruction=reconstruction, ranks=ranks, samples=200)
            errors[reconstruction] = float((made[:10](images) - wanted).square().sum())
    assert errors["asymmetric"] < errors["nonlinear"] < errors["linear"]


def test_a_separable_filter_is_split_exactly() -> None:
    torch.manual_seed(0)
    column, row = torch.randn(2, 5, 3, 1).double(), torch.randn(8, 2, 1, 3).double()
    layer = nn.Conv2d(5, 8, 3, stride=2, padding=(1, 2), dilation=(1, 2)).double()
    with torch.no_grad():
        layer.weight.copy_(torch.einsum("riy,orx->oiyx", column[..., 0], row[:, :, 0]))
    vertical, horizontal = split_window(layer.weight.detach(), 2)
    product = torch.einsum("riy,orx->oiyx", vertical[..., 0], horizontal[:, :, 0])
    torch.testing.assert_close(product, layer.weight.detach(), rtol=0, atol=1e-12)
    images = torch.randn(30, 5, 9, 11).double()
    for rank in ((2, None), (2, 8), (2, 6)):
        made = netsuke.low_rank(nn.Sequential(layer, nn.ReLU()), images, reconstruction="3d", ranks={"0": rank})
        # The responses of 2 maps of 3 columns have 6 dimensions, so that the last is exact too.
        torch.testing.assert_close(made(images), layer(images).relu(), rtol=0, atol=1e-9)
        names = ["vertical", "horizontal", "restore"][: 2 if rank[1] is None else 3]
        assert [name for name, _ in made[0].named_children()] == names


def test_a_window_is_split_for_the_channels_that_are_left() -> None:
    random = torch.Generator().manual_seed(0)
    weight, Q = (torch.randn(*shape, generator=random).double() for shape in ((8, 5, 3, 3), (2, 8)))
    wanted = torch.einsum("po,oiyx->piyx", Q, weight)
    lost = []
    for toward in (wanted, None):
        vertical, horizontal = split_window(weight, 4, toward)
        made = torch.einsum("po,riy,orx->piyx", Q, vertical[..., 0], horizontal[:, :, 0])
        lost.append(float((made - wanted).square().sum()))
    columns = wanted.permute(1, 2, 0, 3).reshape(15, 6).numpy()
    assert lost[0] == pytest.approx((np.linalg.svd(columns, compute_uv=False)[4:] ** 2).sum())
    assert lost[0] < lost[1]


def test_windows_leave_to_the_channels_what_they_cannot_give() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 96, 1), nn.ReLU(), nn.Conv2d(96, 96, 1))
    for speedup in (1.5, 6.0):
        report = netsuke.low_rank(model, IMAGES, speedup, "3d").netsuke_report
        assert report.speedup >= speedup


@pytest.mark.parametrize("padding", ["same", 1])
def test_windows_move_as_before(padding: Any) -> None:
    torch.manual_seed(0)
    mode = "zeros" if padding == "same" else "circular"
    layer = nn.Conv2d(4, 6, (3, 5), padding=padding, padding_mode=mode).double()
    images = torch.randn(20, 4, 8, 9).double()
    for rank in (6, (12, 6), (12, None)):
        made = netsuke.factorize(layer, {"": rank})
        torch.testing.assert_close(made(images), layer(images), rtol=0, atol=1e-9)


def test_linear_layers_are_their_truncated_decomposition() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(432, 40), nn.ReLU(), nn.Linear(40, 10))
    made = netsuke.low_rank(model, IMAGES, speedup=1, linear_speedup=3)
    report = made.netsuke_report
    assert report.linears[0] >= 3 * report.linears[1]
    assert report.convolutions == (0, 0)
    rank = report.ranks["1"]
    u, s, v = np.linalg.svd(model[1].weight.detach().double().numpy(), full_matrices=False)
    product = made[1].restore.weight @ made[1].reduce.weight
    np.testing.assert_allclose(product.detach().numpy(), u[:, :rank] * s[:rank] @ v[:rank], rtol=0, atol=1e-5)
    assert torch.equal(made[1].restore.bias, model[1].bias)
    assert report.layers[0].energy == pytest.approx((s[:rank] ** 2).sum() / (s**2).sum())
    # No image is looked at: two are enough.
    few = netsuke.low_rank(vgg(), IMAGES[:2], speedup=1, linear_speedup=1.3)
    assert list(few.netsuke_report.ranks) == ["14"]
    # Counted apart: convolutions stay as they are.
    both = netsuke.low_rank(vgg(), IMAGES, speedup=2, linear_speedup=1.5)
    assert both.netsuke_report.linears[0] >= 1.5 * both.netsuke_report.linears[1]


def test_ranks_make_the_structure_again_from_json() -> None:
    made = netsuke.low_rank(vgg(), IMAGES, 2.5, "3d", linear_speedup=1.3)
    ranks = json.loads(json.dumps(made.netsuke_report.ranks))
    again = netsuke.factorize(vgg(), ranks)
    assert [(n, t.shape) for n, t in again.state_dict().items()] == [(n, t.shape) for n, t in made.state_dict().items()]
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(IMAGES), made(IMAGES))
    explicit = netsuke.low_rank(vgg(), IMAGES, reconstruction="3d", ranks=ranks)
    torch.testing.assert_close(explicit(IMAGES), made(IMAGES), rtol=0, atol=1e-4)


def test_what_cannot_be_split_stays_whole_and_counts() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 16, 3, padding=1)
            self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
            self.twice = nn.Conv2d(16, 16, 3, padding=1)
            self.body = nn.Conv2d(16, 32, 3, padding=1)
            self.one = nn.Conv2d(32, 1, 3, padding=1)
            self.up = nn.ConvTranspose2d(32, 4, 2, 2)
            self.absent = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.depthwise(self.stem(x).relu())
            x = self.body(self.twice(self.twice(x)))
            return self.one(x) + self.up(x).mean(1, keepdim=True)[..., ::2, ::2]

    torch.manual_seed(0)
    made = netsuke.low_rank(Odd().eval(), IMAGES, 1.6, skip=["stem"])
    report = made.netsuke_report
    assert list(report.ranks) == ["body"]
    why = dict(report.skipped)
    assert why["depthwise"] == "it works in 16 groups"
    assert why["twice"] == "it runs 2 times in one forward"
    assert why["stem"] == "skip= names it"
    assert why["absent"] == "it does not run on the calibration images"
    assert "ConvTranspose2d" in why["up"]
    assert why["one"].startswith("it is worth its cost")
    assert report.layers[0].note == "2 others read body"
    works = [w for w in work_of(Odd().eval(), IMAGES[:1]) if w.module]
    assert report.convolutions[0] == sum(work.macs for work in works)
    with pytest.raises(
        Error, match="body: it works|cannot be reached, .* times with all ranks 1. What stays whole: stem"
    ):
        netsuke.low_rank(Odd().eval(), IMAGES, 8, skip=["stem"])


def test_what_stands_behind_is_found() -> None:
    model = vgg()
    names = {n: len(m.weight) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    found = behind(model, names)
    assert [stands.relu for stands in found.values()] == [True, True, True, False]
    norm = model[5]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(found["3"].scale, scale.detach().double(), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(
        found["3"].shift, (norm.bias - norm.running_mean * scale).detach().double(), rtol=1e-5, atol=1e-6
    )

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).relu() if float(x.mean()) < 1e9 else x

    made = netsuke.low_rank(Loop(), IMAGES, 1.5, "nonlinear")
    assert (made.netsuke_report.layers[0].fit, made.netsuke_report.layers[0].note) == (
        "linear", "torch.fx cannot follow the forward",
    )  # fmt: skip
    resnet = netsuke.create_model("resnet20").eval()
    images = torch.randn(30, 3, 32, 32)
    notes = {x.name: x.note for x in netsuke.low_rank(resnet, images, ranks={"layer1.0.conv1": 8, "layer1.0.conv2": 8},
                                                     reconstruction="nonlinear").netsuke_report.layers}  # fmt: skip
    assert notes == {"layer1.0.conv1": "", "layer1.0.conv2": "an addition in layer1.0 stands behind it"}


@pytest.mark.parametrize("reconstruction", ["asymmetric", "3d"])
def test_the_engine_says_what_the_module_says(reconstruction: str, tmp_path: Path) -> None:
    made = netsuke.low_rank(vgg(), IMAGES, 2, reconstruction, linear_speedup=1.3)
    path = netsuke.export(made, IMAGES[:2], tmp_path / "small.netsuke")
    with torch.no_grad():
        expected = made(IMAGES).numpy()
    scale = np.abs(expected).max()
    reference = artifact.Reference(artifact.read(path))(IMAGES.numpy())
    np.testing.assert_allclose(reference, expected, rtol=0, atol=1e-5 * scale)
    if not available_isas():
        pytest.skip("the engine is not compiled here")
    np.testing.assert_allclose(netsuke.load(path)(IMAGES.numpy()), expected, rtol=0, atol=1e-5 * scale)


def test_onnx_runtime_says_what_the_module_says(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    made = netsuke.low_rank(vgg(), IMAGES, 2, "3d", linear_speedup=1.3)
    write_onnx(made, (4, 3, 12, 12), tmp_path / "small.onnx")
    session = runtime.InferenceSession(tmp_path / "small.onnx", providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: IMAGES[:4].numpy()})
    with torch.no_grad():
        expected = made(IMAGES[:4]).numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_lone_convolution_is_a_model_too() -> None:
    layer = nn.Conv2d(3, 32, 3)
    made = netsuke.low_rank(layer, IMAGES, 1.5)
    assert [name for name, _ in made.named_children()] == ["reduce", "restore"]
    assert list(made.netsuke_report.ranks) == [""]
    assert made.netsuke_report.speedup >= 1.5


def test_pruned_weights_are_taken_as_they_are() -> None:
    made = netsuke.low_rank(netsuke.prune(vgg(), sparsity=0.5), IMAGES, 2)
    assert not any("parametrizations" in name for name in made.state_dict())


# ------------------------------------------------------------------------------------------------- refusals
def damaged(value: float) -> Tensor:
    images = IMAGES.clone()
    images[7, 1, 2, 3] = value
    return images


def broken() -> nn.Module:
    model = vgg()
    with torch.no_grad():
        model[3].weight[0, 0, 0, 0] = float("nan")
    return model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"calibration": damaged(float("nan"))}, "calibration image 7 holds NaN or infinity"),
        ({"calibration": damaged(float("inf"))}, "calibration image 7 holds NaN or infinity"),
        ({"calibration": IMAGES[:1]}, "calibration holds 1 image: give a few hundred"),
        ({"calibration": IMAGES[:0]}, "calibration holds 0 images"),
        ({"calibration": IMAGES[:2]}, "has 16 channels, and 20 samples were drawn of it: give 1.6 times as many"),
        ({"calibration": 3}, "calibration must be images"),
        ({"calibration": (IMAGES * 255).byte()}, "must be float images"),
        ({"calibration": torch.randn(9, 5, 12, 12)}, "fails on the"),
        ({"speedup": 200.0}, "cannot be reached, .* times with all ranks 1"),
        ({"speedup": 0.5}, "speedup is 0.5: give how many times fewer"),
        ({"speedup": float("nan")}, "speedup is nan"),
        ({"speedup": 1.0}, "ask for a speedup above 1"),
        ({"linear_speedup": "2"}, "linear_speedup is '2'"),
        ({"reconstruction": "cp"}, "use one of linear, nonlinear, asymmetric, 3d"),
        ({"samples": 0}, "samples is 0"),
        ({"skip": ["nothing"]}, "skip names 'nothing'"),
        ({"skip": lambda *_: True}, "no convolutions that can be split. What stays whole: 0: skip= names it"),
        ({"ranks": {"3": 25}}, "the rank of 3 is 25: give a whole number, 1 to 24"),
        ({"ranks": {"3": 0}}, "the rank of 3 is 0"),
        ({"ranks": {"3": (49, 5)}, "reconstruction": "3d"}, "the spatial rank of 3 is 49: .* 1 to 48"),
        ({"ranks": {"3": (4, 5)}}, "that is reconstruction='3d'"),
        ({"ranks": {"1": 3}}, "it is a BatchNorm2d: only"),
        ({"ranks": {"conv": 3}}, "ranks names 'conv', which the model lacks"),
        ({"ranks": {"0": 3}, "skip": ["0"]}, "0 cannot be split: skip= names it"),
        ({"ranks": [3]}, r"ranks is \{layer: rank\}"),
        ({"ranks": {"14": (3, 3)}, "reconstruction": "3d"}, "no convolution of a k x k window"),
        ({"model": broken()}, "3 gives numbers that are not finite"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(432, 3))}, "there are no convolutions that can be split"),
        ({"model": 3}, "takes a torch.nn.Module, not a int"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"model": vgg(), "calibration": IMAGES, "speedup": 2.0, **arguments}
    with pytest.raises(Error, match=message):
        netsuke.low_rank(**given)


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ({"absent": 3}, "which the model lacks"),
        ({"0": 3.5}, "the rank of 0 is 3.5"),
        ({"0": [0, None]}, "the spatial rank of 0 is 0"),
        ([("0", 3)], "takes a torch.nn.Module and"),
    ],
)
def test_ranks_of_another_model_are_refused(ranks: Any, message: str) -> None:
    with pytest.raises(Error, match=message):
        netsuke.factorize(vgg(), ranks)
