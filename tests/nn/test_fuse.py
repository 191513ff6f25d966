"""The fused training path: the same numbers as the modules themselves, on every instruction set and for every shape."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import netsuke
from netsuke import engine
from netsuke.models import create_model
from netsuke.nn import AdaBinActivation, BinaryConv2d, Maxout, RSign, Sign, fuse, progressive
from netsuke.nn.convolution import binary_convolution, reads_bits
from netsuke.nn.kernels import kernels
from netsuke.nn.product import gated
from netsuke.nn.unit import Unit, unit

# An install without them trains all the same, more slowly; the tests are for one that has them.
assert kernels is not None, "the compiled training kernels are missing: run `make setup` again"
ISAS = kernels.available()


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = kernels.isa()
    assert kernels.use(request.param)
    yield request.param
    assert kernels.use(before)


def last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def relative(got: Tensor, wanted: Tensor) -> float:
    got, wanted = got.detach().double(), wanted.detach().double()
    return float((got - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))


def bits_of(positive: Tensor) -> Tensor:
    """int16 (N, H, W, C / 16) from bool (N, C, H, W): bit i of a word for channel i."""
    n, c, h, w = positive.shape
    words = (positive.permute(0, 2, 3, 1).reshape(n, h, w, c // 16, 16).long() << torch.arange(16)).sum(-1)
    return torch.where(words >= 32768, words - 65536, words).short().contiguous()


def parts(channels: int, slopes: bool, binary: bool, center: str, alpha: float) -> Unit:
    return randomised(
        nn.BatchNorm2d(channels), Maxout(channels) if slopes else None, adabin(center, alpha) if binary else None
    )


def adabin(center: str, alpha: float) -> AdaBinActivation:
    binarizer = AdaBinActivation(center)
    with torch.no_grad():
        binarizer.alpha_a.fill_(alpha)
        binarizer.beta_a.fill_(0.3)
    return binarizer


def randomised(norm: nn.BatchNorm2d | None, shape: Any, binarizer: Any, means: bool = False) -> Unit:
    with torch.no_grad():
        for module in (norm, shape):
            for p in module.parameters() if module is not None else ():
                p.copy_(torch.rand_like(p) + 0.25)
        if isinstance(binarizer, RSign):
            binarizer.bias.normal_()
    return Unit(norm, shape, binarizer, means=means)


def run(u: Unit, x: Tensor, r: Tensor | None, of_y: Tensor, of_a: Tensor, plain: bool) -> dict[str, Tensor]:
    """Results and gradients of a unit, through the operator or through its modules."""
    modules = nn.ModuleList([m for m in u[:3] if m is not None])
    modules.zero_grad()
    x = x.detach().requires_grad_()
    r = None if r is None else r.detach().requires_grad_()
    if plain:
        y = x if u.norm is None else u.norm(x)
        y = y if r is None else y + r
        y = y if u.nonlinearity is None else u.nonlinearity(y)
        a = None if u.binarizer is None else u.binarizer(y)
        means = y.mean((2, 3), keepdim=True) if u.means else None
    else:
        y, a, _, means = unit(x, r, u)
    loss = (y * of_y).sum() if a is None else (y * of_y).sum() + (a * of_a).sum()
    if means is not None:
        loss = loss + (means * 100 * of_y[:, :, :1, :1].to(means.dtype)).sum()
    loss.backward()
    made = {"y": y, "x.grad": x.grad, "a": a, "means": means, "r.grad": None if r is None else r.grad}
    if u.norm is not None:
        made |= {"mean": u.norm.running_mean, "var": u.norm.running_var}
    for name, p in modules.named_parameters():
        made[name] = p.grad
    return {name: value.detach().clone() for name, value in made.items() if value is not None}


UNITS: dict[str, Callable[[int], tuple[Unit, bool]]] = {  # and whether there is a residual
    "published": lambda c: (parts(c, True, True, "published", 0.7), True),
    "paper": lambda c: (parts(c, True, True, "paper", -0.4), True),
    "no residual": lambda c: (parts(c, True, True, "published", -0.4), False),
    "norm": lambda c: (parts(c, False, False, "paper", 1.0), False),
    "no slopes": lambda c: (parts(c, False, True, "paper", 0.7), True),
    "no binarizer": lambda c: (parts(c, True, False, "paper", 1.0), True),
    "prelu": lambda c: (randomised(nn.BatchNorm2d(c), nn.PReLU(c), RSign(c), means=True), True),
    "rsign": lambda c: (randomised(nn.BatchNorm2d(c), None, RSign(c), means=True), False),
    "sign": lambda c: (randomised(nn.BatchNorm2d(c), None, Sign(), means=True), True),
    "no norm": lambda c: (randomised(None, nn.PReLU(c), RSign(c), means=True), False),
    "binarizer": lambda c: (randomised(None, None, RSign(c)), False),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("channels", [5, 48])
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_equals_its_modules_in_float64(
    isa: str, dtype: torch.dtype, training: bool, channels: int, name: str
) -> None:
    torch.manual_seed(channels)
    u, residual = UNITS[name](channels)
    exact = Unit(*(None if m is None else copy.deepcopy(m).double() for m in u[:3]), means=u.means)  # type: ignore[arg-type]
    for m in (*u[:3], *exact[:3]):
        if m is not None:
            m.train(training)
    x, r, of_y, of_a = (last(torch.randn(6, channels, 15, 17)).to(dtype) for _ in range(4))
    x += 3 if u.norm is not None else 0  # far from 0, where a careless variance cancels
    got = run(u, x, r if residual else None, of_y, of_a, plain=False)
    wanted = run(exact, x.double(), r.double() if residual else None, of_y.double(), of_a.double(), plain=True)
    assert got.keys() == wanted.keys()
    tight = dtype == torch.float32
    for key, value in wanted.items():
        per_pixel = key in ("y", "a", "x.grad", "r.grad")
        bound = 2e-5 if tight else 1.2e-2 if per_pixel else 4e-3
        assert got[key].shape == value.shape
        assert relative(got[key], value) < bound, key


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("channels", [5, 48])
@pytest.mark.parametrize("two", [True, False])
def test_a_gated_product_equals_its_formula_in_float64(isa: str, dtype: torch.dtype, channels: int, two: bool) -> None:
    torch.manual_seed(channels)
    x, other, given_grad = (last(torch.randn(3, channels, 7, 9)).to(dtype) for _ in range(3))
    gate = torch.rand(3, channels, 1, 1)
    inputs = [t.requires_grad_() for t in ((x, gate, other) if two else (x, gate))]
    exact = [t.detach().double().requires_grad_() for t in inputs]
    made, wanted = gated(*inputs), exact[0] * exact[1] * (exact[2] if two else 1)
    assert made.dtype == dtype
    made.backward(given_grad)
    wanted.backward(given_grad.double())
    bound = 1e-6 if dtype == torch.float32 else 8e-3
    assert relative(made, wanted) < bound
    for t, e in zip(inputs, exact, strict=True):
        assert t.grad is not None
        assert e.grad is not None
        assert relative(t.grad, e.grad) < bound


BNEXT = [
    ("bnext18", {}), ("bnext18", {"attention": False}), ("bnext18", {"recoupling": False}),
    ("bnext18", {"module": "xnor"}), ("bnext18", {"module": "real_to_binary"}), ("bnext_tiny", {"width": 0.5}),
    ("bnext18_float", {}),
]  # fmt: skip


def bnext(name: str, progress: float, **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    model = create_model(name, num_classes=10, **{"width": 0.25, **arguments})
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    progressive(model, progress)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if key.endswith("binary_a.bias") or "norm" in key:
                p += 0.1 * torch.randn_like(p)
    return model


def trained(model: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    """The loss and the gradients of one step."""
    loss = nn.functional.cross_entropy(model(images), torch.arange(len(images)))
    loss.backward()
    return loss.detach(), [p.grad for p in model.parameters()]


@pytest.mark.parametrize("progress", [0.05, 1.0], ids=["soft", "hard"])
@pytest.mark.parametrize(("name", "arguments"), BNEXT, ids=str)
def test_a_bnext_is_rewritten_without_a_change(name: str, arguments: dict[str, Any], progress: float) -> None:
    """In float64, where every operator goes through the modules."""
    model = bnext(name, progress, **arguments).double()
    exact, fused = copy.deepcopy(model), fuse(model)
    assert fused is not model
    images = last(torch.randn(4, 3, 32, 32, dtype=torch.float64))
    (loss, made), (wanted, grads) = trained(fused, images), trained(exact, images)
    assert abs(float(loss - wanted)) < 1e-12
    for got, grad in zip(made, grads, strict=True):
        assert (got is None) == (grad is None)
        if got is not None and grad is not None:
            assert torch.allclose(got, grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("progress", [0.05, 1.0], ids=["soft", "hard"])
def test_a_fused_bnext_trains_as_in_float64(isa: str, progress: float) -> None:
    """In float32 hardly a bit flips."""
    model = bnext("bnext18", progress)
    exact, images = copy.deepcopy(model).double(), last(torch.randn(8, 3, 32, 32))
    (loss, made), (wanted, grads) = trained(fuse(model), images), trained(exact, images.double())
    assert abs(float(loss - wanted)) < 1e-5
    errors = sorted(relative(g, e) for g, e in zip(made, grads, strict=True) if g is not None and e is not None)
    assert errors[len(errors) // 2] < 1e-4


def test_bits_are_the_signs_of_the_binarized_map(isa: str) -> None:
    torch.manual_seed(0)
    u = parts(48, True, True, "published", -0.7)
    _y, a, bits, _means = unit(last(torch.randn(3, 48, 5, 7)), None, u)
    assert a is not None
    assert bits is not None
    binary = u.binarizer.constants()  # type: ignore[union-attr]
    assert torch.equal(bits, bits_of((a - binary.gamma) / binary.alpha > 0))


def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    torch.manual_seed(0)
    u = parts(16, True, True, "published", 0.7)
    x, r, of_y, of_a = (last(torch.randn(40, 16, 16, 16)) for _ in range(4))
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            u.norm.reset_running_stats()
            made.append(run(u, x, r, of_y, of_a, plain=False))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_saved_tensors_may_come_back_as_copies() -> None:
    """As with torch.autograd.graph.save_on_cpu, or activation checkpointing."""
    torch.manual_seed(0)
    u = parts(16, True, True, "published", 0.7)
    x, r, of_y, of_a = (last(torch.randn(4, 16, 6, 6)) for _ in range(4))
    wanted = run(u, x, r, of_y, of_a, plain=False)
    u.norm.reset_running_stats()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(force=True).copy(), torch.from_numpy):
        got = run(u, x, r, of_y, of_a, plain=False)
    assert all(torch.equal(got[name], wanted[name]) for name in ("x.grad", "r.grad"))


SHAPES = [
    # channels, outputs, kernel, stride, padding, height, images
    (16, 16, (3, 3), (1, 1), (1, 1), 8, 3),
    (32, 64, (3, 3), (2, 2), (1, 1), 9, 3),
    (48, 80, (5, 3), (2, 1), (2, 1), 7, 3),
    (16, 32, (1, 1), (1, 1), (0, 0), 5, 3),
    (64, 16, (3, 5), (1, 1), (0, 2), 6, 3),
    (16, 32, (3, 3), (1, 1), (1, 1), 4, 37),
    (256, 144, (3, 3), (1, 1), (1, 1), 4, 5),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("alpha", [0.7, -0.4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_counted_convolution_equals_the_layer_in_float64(
    isa: str, dtype: torch.dtype, alpha: float, shape: Any
) -> None:
    check_convolution(dtype, alpha, *shape, contiguous=False)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([16, 32, 48]), st.sampled_from([16, 32, 80]), st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)), st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.integers(4, 9), st.integers(1, 5), st.sampled_from([torch.float32, torch.bfloat16]), st.booleans(),
)  # fmt: skip
def test_counted_convolutions_of_any_shape(
    channels: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int],
    height: int, images: int, dtype: torch.dtype, contiguous: bool,
) -> None:  # fmt: skip
    check_convolution(dtype, 0.6, channels, outputs, kernel, stride, padding, height, images, contiguous)


def check_convolution(
    dtype: torch.dtype, alpha: float, channels: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int],
    padding: tuple[int, int], height: int, images: int, contiguous: bool,
) -> None:  # fmt: skip
    torch.manual_seed(channels + height)
    binarizer = AdaBinActivation("published")
    layer = BinaryConv2d(channels, outputs, kernel, stride, padding, bias=True, binary_a=binarizer)
    if not contiguous:
        layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        binarizer.alpha_a.fill_(alpha)
        binarizer.beta_a.fill_(0.3)
    assert reads_bits(layer)
    exact = copy.deepcopy(layer).double()
    binary = binarizer.constants()
    positive = torch.rand(images, channels, height, height + 1) < 0.5
    a = torch.where(positive, binary.gamma + binary.alpha, binary.gamma - binary.alpha).double().requires_grad_()
    wanted = exact.convolve(a)
    given_grad = last(torch.randn_like(wanted)).to(dtype)
    wanted.backward(given_grad.double())
    placeholder = torch.full((1,), torch.nan, dtype=dtype).expand(a.shape).requires_grad_()
    made = binary_convolution(layer, placeholder, bits_of(positive))
    made.backward(given_grad)
    bound = 3e-6 if dtype == torch.float32 else 8e-3
    assert made.dtype == dtype
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert relative(made, wanted) < bound
    assert a.grad is not None
    assert placeholder.grad is not None
    assert relative(placeholder.grad, a.grad) < bound
    assert layer.weight.grad is not None
    assert exact.weight.grad is not None
    assert relative(layer.weight.grad, exact.weight.grad) < bound


def test_a_filter_without_deviation_passes_on_its_mean_gradient() -> None:
    layer = BinaryConv2d(16, 16, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.weight[0] = 0.5
    exact = copy.deepcopy(layer).double()
    a = torch.randn(2, 16, 4, 4).sign()
    out, wanted = binary_convolution(layer, last(a)), exact.convolve(a.double())
    given_grad = torch.randn_like(out)
    out.backward(given_grad)
    wanted.backward(given_grad.double())
    assert layer.weight.grad is not None
    assert exact.weight.grad is not None
    assert relative(layer.weight.grad[0], exact.weight.grad[0]) < 1e-5
    assert relative(layer.weight.grad, exact.weight.grad) < 1e-5


@pytest.mark.parametrize("name", ["adabin_resnet20", "adabin_resnet18", "adabin_vgg_small"])
def test_a_fused_network_says_the_same(name: str) -> None:
    """Rounding flips a bit now and then, and the image is then another one; in eval mode the others stay untouched."""
    torch.manual_seed(1)
    model = last_module(create_model(name))
    images = last(torch.randn(24, 3, 32, 32))
    with torch.no_grad():
        model(images)  # running statistics of real maps
        model.eval()
        wanted = copy.deepcopy(model).double()(images.double())
        fused = fuse(model)
        assert fused is not model
        off = (fused(images) - wanted).abs().amax(1) / wanted.abs().max()
    assert int((off < 1e-4).sum()) >= 18


def test_without_compiled_kernels_a_fused_network_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = last_module(create_model("adabin_resnet20")).eval()
    images = last(torch.randn(2, 3, 32, 32))
    for module in ("unit", "convolution"):
        monkeypatch.setattr(f"netsuke.nn.{module}.kernels", None)
    fused = fuse(model)
    assert fused is not model
    assert torch.equal(fused(images), model(images))


@pytest.fixture(scope="module", params=["adabin_resnet20", "bnext18"])
def trained_file(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Tensor, Tensor]:
    """A network that was trained fused for some steps, exported; images, and what it says of them."""
    torch.manual_seed(0)
    arguments = {"num_classes": 10, "width": 0.25} if request.param == "bnext18" else {}
    model = last_module(create_model(request.param, **arguments))
    progressive(model, 1)
    fused, images = fuse(model), last(torch.randn(32, 3, 32, 32))
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(fused(images), torch.arange(32) % 10).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        wanted = fused(images)
    file = tmp_path_factory.mktemp("trained") / "trained.netsuke"
    netsuke.export(model, images, file)
    return file, images, wanted


@pytest.mark.parametrize("name", engine.available_isas())
def test_what_was_trained_fused_runs_in_the_engine(name: str, trained_file: tuple[Path, Tensor, Tensor]) -> None:
    """The seam from the training kernels to the engine: one set of weights, the same logits, but where a bit flips."""
    file, images, wanted = trained_file
    made = torch.from_numpy(netsuke.load(file, isa=name)(images.numpy()))
    off = (made - wanted).abs().amax(1) / wanted.abs().max()
    assert int((off < 1e-4).sum()) >= 24


def test_numbers_that_are_not_finite_run_on_to_the_loss() -> None:
    """There a training loop looks, and says which step it was; an error inside the forward would not."""
    model = last_module(create_model("adabin_resnet20"))
    layer: Any = model.get_submodule("layer2.0.conv1")
    with torch.no_grad():
        layer.binary_a.alpha_a.fill_(torch.nan)
    assert bool(fuse(model)(last(torch.randn(2, 3, 32, 32))).isnan().all())


def last_module(module: nn.Module) -> nn.Module:
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def test_a_fused_network_has_the_names_and_the_parameters_of_the_model() -> None:
    model = create_model("adabin_resnet20")
    fused = fuse(model)
    assert list(fused.state_dict()) == list(model.state_dict())
    assert all(p is q for p, q in zip(fused.parameters(), model.parameters(), strict=True))
    fused.eval()
    assert not any(m.training for m in model.modules() if m is not model)


def test_a_binarized_network_of_a_user_is_fused() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 16, 3, padding=1)
            self.bn1, self.bn2 = nn.BatchNorm2d(16), nn.BatchNorm2d(32)
            self.body = nn.Conv2d(16, 32, 3, padding=1, bias=False)
            self.head = nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.bn1(self.stem(x)))
            x = torch.relu(self.bn2(self.body(x)))
            return self.head(x.mean((2, 3)))

    images = last(torch.randn(8, 3, 8, 8))
    student = last_module(netsuke.binarize(Net(), calibration=images))
    fused = fuse(student)
    assert fused is not student
    assert torch.allclose(fused(images), student(images), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("mode", ["ones", "replicate"])
def test_padding_that_counts_is_trained_as_without_fusing(mode: str, dtype: torch.dtype) -> None:
    """The counting kernels pad with zeros alone: such layers go through PyTorch."""
    torch.manual_seed(3)
    model = last_module(nn.Sequential(nn.BatchNorm2d(16), BinaryConv2d(16, 32, 3, padding=1, padding_mode=mode)))
    assert not reads_bits(model[1])
    other = copy.deepcopy(model)
    fused = fuse(model)
    assert fused is not model
    images = last(torch.randn(2, 16, 6, 5)).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found, wanted = fused(images), other(images)
    grad = torch.randn_like(wanted)
    found.backward(grad), wanted.backward(grad)
    bound = 1e-5 if dtype == torch.float32 else 3e-2
    assert relative(found, wanted) < bound
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert relative(p.grad, q.grad) < bound


class Whim(nn.Module):
    """A binary layer, and a forward that does more than name layers."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.calls = kind, 0
        self.norm, self.conv = nn.BatchNorm2d(16), BinaryConv2d(16, 16, 3)
        self.scale = nn.Parameter(torch.rand(16, 1, 1))
        self.table = torch.rand(16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        h = torch.abs(x)
        y = self.norm(x)
        if self.kind == "works in place on what is read again":
            torch.relu_(y)
        if self.kind == "adds in place to what is read again":
            kept = h
            h += y
            return self.conv(h) + kept[:, :, 1:-1, 1:-1]
        if self.kind == "adds a number":
            y = y + x.size(1)
        y = self.conv(y)
        if self.kind == "branches on a value":
            return y if y.sum() > 0 else -y
        if self.kind == "drops out":
            return nn.functional.dropout(y, 0.5, self.training)
        if self.kind == "counts":
            return y * self.calls
        if self.kind == "draws":
            return y if random.random() < 1 else -y
        if self.kind == "reads a tensor that is not registered":
            return y * self.table
        return y * self.scale


@pytest.mark.parametrize(
    "kind",
    [
        "branches on a value", "drops out", "counts", "draws", "works in place on what is read again",
        "adds in place to what is read again", "reads a tensor that is not registered",
    ],
)  # fmt: skip
def test_a_forward_that_is_not_always_the_same_stays_as_it_is(kind: str) -> None:
    model = Whim(kind)
    model.norm.eval()
    assert fuse(model) is model
    assert [m.training for m in (model, model.norm, model.conv)] == [True, False, True]


@pytest.mark.parametrize("kind", ["reads a parameter", "adds a number"])
def test_other_forwards_are_fused_and_say_the_same(kind: str) -> None:
    torch.manual_seed(0)
    model = last_module(Whim(kind))
    fused, images = fuse(model), last(torch.randn(2, 16, 6, 6))
    assert fused is not model
    assert relative(fused(images), copy.deepcopy(model).double()(images.double())) < 1e-5


def test_an_optional_argument_stays_optional() -> None:
    class Optional(Whim):
        def forward(self, x: Tensor, again: bool = False) -> Tensor:
            return super().forward(x)

    model = Optional("reads a parameter")
    assert fuse(model) is model


def test_hooks_still_run() -> None:
    model, seen = Whim("reads a parameter"), []
    model.norm.register_forward_hook(lambda *_: seen.append("norm"))
    fuse(model)(last(torch.randn(2, 16, 6, 6)))
    assert seen == ["norm"]


def test_a_binarizer_that_was_changed_is_noticed() -> None:
    model = Whim("reads a parameter")
    fused = fuse(model)
    model.conv.binary_a = AdaBinActivation()
    with pytest.raises(netsuke.Error, match="fuse it again"):
        fused(last(torch.randn(2, 16, 6, 6)))


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param(lambda: [nn.BatchNorm2d(32), BinaryConv2d(16, 16, 1)], id="channels of the convolution"),
        pytest.param(lambda: [nn.BatchNorm2d(16, affine=False), nn.Identity()], id="channels of the statistics"),
        pytest.param(lambda: [nn.BatchNorm2d(32), BinaryConv2d(32, 16, 9)], id="kernel larger than the map"),
    ],
)
def test_what_does_not_fit_is_refused_as_without_fusing(layers: Any) -> None:
    fused = fuse(nn.Sequential(*layers()))
    with pytest.raises(RuntimeError):
        fused(last(torch.randn(2, 32, 6, 6)))


def test_slopes_for_all_channels_at_once_go_through_the_modules() -> None:
    model = nn.Sequential(nn.BatchNorm2d(16), Maxout(1))
    fused, images = fuse(model), last(torch.randn(2, 16, 6, 6))
    assert torch.allclose(fused(images), copy.deepcopy(model)(images), atol=1e-6)


def test_statistics_that_are_not_tracked_stay() -> None:
    norm = nn.BatchNorm2d(16)
    norm.track_running_stats = False
    fuse(nn.Sequential(norm, Maxout(16)))(last(torch.randn(2, 16, 6, 6)))
    assert not bool(norm.running_mean.any())  # type: ignore[union-attr]


def test_a_network_without_what_is_fused_stays_as_it_is() -> None:
    assert isinstance(fuse(Whim("reads a parameter")), torch.fx.GraphModule)
    plain = nn.Sequential(nn.Linear(3, 3))
    assert fuse(plain) is plain


def test_float64_goes_through_the_modules() -> None:
    """Nothing in the kernels takes float64: the fused network must be exact all the same."""
    model = create_model("adabin_resnet20").double()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert torch.equal(fuse(copy.deepcopy(model))(images), model(images))
