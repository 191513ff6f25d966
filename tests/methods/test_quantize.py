"""`netsuke.quantize`: which layers, where they start, and that a file is what was trained."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import cifar
import netsuke
from lowering_checks import RUNNERS, assert_close, check_nodes, runner
from netsuke.artifact.graph import BinaryConv2d, Conv2d, Int8Conv2d
from netsuke.lowering import Lowered, lower
from netsuke.nn import QuantizedConv2d, QuantizedLinear, fuse, progressive


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


class Small(nn.Module):
    """A stem with batch norm; two readers of its map, one with zeros around it; a depth-wise and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.left = nn.Conv2d(8, 6, 3, groups=2)
        self.right = nn.Conv2d(8, 6, 1)
        self.deep = nn.Conv2d(6, 6, 3, groups=6)
        self.last = nn.Linear(6 * 4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = self.left(F.pad(x, (1, 1, 1, 1))) + F.leaky_relu(self.right(x), 0.3)
        return self.last(F.relu(self.deep(x)).flatten(1))


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 12, 12)


def small() -> nn.Module:
    model = Small()
    with torch.no_grad():
        model.norm.weight.copy_(torch.randn(8))
        model.norm.running_var.copy_(torch.rand(8) + 0.5)
    return model.eval()


BITS = {"*": "int8", "left": "int4", "deep": "float32"}


def test_the_chosen_layers_are_replaced_and_the_model_is_left_alone() -> None:
    model = small()
    made = netsuke.quantize(model, BITS, images(32))
    kinds = {
        name: (type(m).__name__, m.activation.bits) for name, m in made.named_modules() if hasattr(m, "activation")
    }
    assert kinds == {
        "stem": ("QuantizedConv2d", 8), "left": ("QuantizedConv2d", 4), "right": ("QuantizedConv2d", 8),
        "last": ("QuantizedLinear", 8),
    }  # fmt: skip
    assert type(made.deep) is nn.Conv2d
    assert not any(isinstance(m, (QuantizedConv2d, QuantizedLinear)) for m in model.modules())
    assert set(model.state_dict()) <= set(made.state_dict())


@pytest.mark.parametrize("kind", RUNNERS)
def test_every_node_is_what_was_trained(kind: str) -> None:
    made = netsuke.quantize(small(), BITS, images(32))
    lowered = lower(made, images(1))
    kinds = {node.name: node.bits for node in lowered.graph.nodes if isinstance(node, Int8Conv2d)}
    assert kinds == {"stem": 8, "left": 4, "right": 8, "last": 8}
    assert [node.name for node in lowered.graph.nodes if isinstance(node, Conv2d)] == ["deep"]
    check_nodes(lowered, images(3).numpy(), kind)


def test_the_file_says_what_the_module_says() -> None:
    """Over a whole network a number in the middle between two codes may go either way: most images have none."""
    made = netsuke.quantize(small(), "int8", images(32))
    x = images(40)
    got = runner("engine", lower(made, x[:1]).graph)(x.numpy())
    with torch.no_grad():
        expected = made.eval()(x).numpy()
    near = np.abs(got - expected).max(1) <= 1e-5 * np.abs(expected).max()
    assert near.mean() > 0.7
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()


def test_the_start_is_what_export_alone_would_choose() -> None:
    """The same ranges, bits and codes as after training calibration: one meaning of float_layers."""
    model, x = small(), images(64)
    after = lower(model, x[:1], float_layers=BITS, calibration=x).graph
    trained = lower(netsuke.quantize(model, BITS, x), x[:1]).graph
    for a, b in zip(after.nodes, trained.nodes, strict=True):
        if isinstance(a, Int8Conv2d):
            assert isinstance(b, Int8Conv2d)
            np.testing.assert_array_equal(a.weight, b.weight)
            np.testing.assert_allclose(a.weight_scale, b.weight_scale, rtol=1e-6)
            assert (a.zero, a.bits) == (b.zero, b.bits)
            assert a.activation_scale == pytest.approx(b.activation_scale, rel=1e-6)


def test_the_rest_can_still_be_quantized_when_it_is_exported() -> None:
    made = netsuke.quantize(small(), {"last": "int4"}, images(32))
    graph = lower(made, images(1), float_layers="int8", calibration=images(8)).graph
    assert {n.name: n.bits for n in graph.nodes if isinstance(n, Int8Conv2d)} == {
        "stem": 8, "left": 8, "right": 8, "deep": 8, "last": 4,
    }  # fmt: skip


def test_training_wins_back_what_rounding_lost() -> None:
    """The published float ResNet-20 in 4 bits throughout, taught to say what it said, on images it then sees first."""
    teacher = cifar.published("resnet20")
    x = cifar.normalised(cifar.images_and_labels(700)[0])
    student = netsuke.quantize(teacher, "int4", x[:64])
    wanted = cifar.outputs(teacher, x).log_softmax(1)

    def divergence(part: slice) -> Tensor:
        return F.kl_div(student(x[part]).log_softmax(1), wanted[part], log_target=True, reduction="batchmean")

    unseen = slice(500, None)
    with torch.no_grad():
        before = divergence(unseen)
    optimizer = torch.optim.Adam(student.parameters(), 3e-4)
    for step in range(20):
        optimizer.zero_grad()
        divergence(slice(25 * step, 25 * step + 25)).backward()
        optimizer.step()
    with torch.no_grad():
        assert divergence(unseen) < 0.75 * before


def test_weights_are_loaded_into_a_model_quantized_alike() -> None:
    made = netsuke.quantize(small(), BITS, images(32))
    other = netsuke.quantize(Small(), BITS)
    with pytest.raises(netsuke.Error, match=r"'stem'.*range is not set"):
        lower(other, images(1))
    other.load_state_dict(made.state_dict())
    x = images(4)
    assert torch.equal(other.eval()(x), made.eval()(x))


@cache
def bnext(gates: str) -> tuple[nn.Module, Tensor]:
    """A narrow BNext-Tiny with hard weights in the edition 8/8/8 or 8/4/8, and images."""
    x = cifar.normalised(cifar.images_and_labels(16)[0])[:, :, 8:24, 8:24]
    model = netsuke.create_model("bnext_tiny", num_classes=10, width=0.25)
    progressive(model, 1)
    with torch.no_grad():
        model.train()(x)
    return netsuke.quantize(model.eval(), {"*": "int8", "*.gate.*": gates}, x), x


@cache
def lowered_bnext(gates: str) -> Lowered:
    model, x = bnext(gates)
    return lower(model, x[:1])


@pytest.mark.parametrize("gates", ["int8", "int4"])
def test_bnext_in_its_quantized_editions(gates: str) -> None:
    lowered = lowered_bnext(gates)
    kinds = [(node.name, node.bits) for node in lowered.graph.nodes if isinstance(node, Int8Conv2d)]
    of_gates = [bits for name, bits in kinds if ".gate." in name]
    assert of_gates == [int(gates.removeprefix("int"))] * 62
    assert [bits for name, bits in kinds if ".gate." not in name] == [8, 8]
    assert sum(isinstance(node, BinaryConv2d) for node in lowered.graph.nodes) == 31
    assert not any(isinstance(node, Conv2d) for node in lowered.graph.nodes)


@pytest.mark.parametrize("kind", RUNNERS)
@pytest.mark.parametrize("gates", ["int8", "int4"])
def test_every_node_of_a_quantized_bnext_is_what_was_trained(gates: str, kind: str) -> None:
    check_nodes(lowered_bnext(gates), bnext(gates)[1][:1].numpy(), kind)


def test_a_layer_under_two_names_stays_one() -> None:
    model = small()
    model.again = model.right
    made = netsuke.quantize(model, "int8", images(8))
    assert isinstance(made.right, QuantizedConv2d)
    assert made.again is made.right


def test_a_quantized_bnext_is_fused_and_says_the_same() -> None:
    """And every parameter learns, those of the ranges too."""
    model, x = bnext("int4")
    plain, fused = copy.deepcopy(model), fuse(copy.deepcopy(model))
    assert type(fused) is not type(plain)
    with torch.no_grad():
        assert_close(fused(x).double().numpy(), plain(x).double().numpy(), 1e-3)
    fused.train()(x).square().mean().backward()
    learned = {name: p.grad is not None for name, p in fused.named_parameters() if name.endswith("log_factor")}
    assert len(learned) == 64
    assert all(learned.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"float_layers": {"first": "int8"}}, "no float layer fits 'first'"),
        ({"float_layers": "int3"}, "float_layers is 'int3'"),
        ({"float_layers": "float32"}, "nothing in Small is quantized"),
        ({"calibration": np.zeros((1, 3, 12, 12))}, "calibration must be float images"),
        ({"calibration": torch.zeros(0, 3, 12, 12)}, "calibration must be float images"),
        ({"calibration": torch.zeros(2, 4, 12, 12)}, "Small fails on the calibration images"),
        ({"calibration": torch.full((2, 3, 12, 12), torch.nan)}, "layer 'stem' reads a number that is not finite"),
    ],
)
def test_bad_input(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(netsuke.Error, match=message):
        netsuke.quantize(small(), **arguments)  # type: ignore[arg-type]


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(netsuke.Error, match="takes a torch.nn.Module"):
        netsuke.quantize("resnet20")  # type: ignore[arg-type]
