"""Engine and reference against the torch module node by node, as DESIGN.md section 7 defines it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import cifar
import netsuke
from lowering_checks import RUNNERS, assert_close, check_nodes
from netsuke.lowering import lower
from netsuke.lowering.trace import trace64
from netsuke.nn import AdaBinActivation, BinaryConv2d, BinaryLinear, Maxout


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", RUNNERS)
def test_published_adabin_resnet20(kind: str) -> None:
    images, _ = cifar.images_and_labels(4)
    batch = cifar.normalised(images)
    check_nodes(lower(cifar.published("adabin_resnet20"), batch[:1]), batch.numpy(), kind)


def disturbed(module: nn.Module) -> nn.Module:
    """Learned numbers away from where they start, so that every term of the arithmetic counts; some are negative."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and tensor.dim() < 2:
                spread = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(spread.abs() + 0.5 if "running_var" in name else spread)
    return module


@pytest.mark.parametrize("kind", RUNNERS)
@pytest.mark.parametrize("name", ["adabin_vgg_small", "adabin_resnet18_imagenet"])
def test_registry_models(name: str, kind: str) -> None:
    model = disturbed(netsuke.create_model(name))
    images = torch.randn(2, 3, 32, 32)
    check_nodes(lower(model, images[:1]), images.numpy(), kind)


class Odd(nn.Module):
    """Shapes that are no multiple of anything, negative scales, groups, dilation, uneven padding, two outputs."""

    def __init__(self, center: str, mode: str = "zeros") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3, bias=False)
        self.a = BinaryConv2d(
            10, 6, (3, 2), (2, 1), (1, 0), groups=2, binary_a=AdaBinActivation(center), padding_mode=mode
        )
        self.b = BinaryConv2d(
            6, 15, 2, padding="same", dilation=(2, 3), groups=3, binary_a=AdaBinActivation(center), padding_mode=mode
        )
        self.norm = nn.BatchNorm2d(15)
        self.maxout = Maxout(15)
        self.wide = BinaryLinear(15 * 5 * 10, 11, binary_a=AdaBinActivation(center))
        self.last = BinaryLinear(11, 5, bias=False, binary_a=AdaBinActivation(center))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.b(F.relu6(self.a(self.stem(x))))
        x = self.maxout(self.norm(x))
        return self.last(self.wide(x.flatten(1))), x


@pytest.mark.parametrize("kind", RUNNERS)
@pytest.mark.parametrize("mode", ["zeros", "ones", "replicate"])
@pytest.mark.parametrize("center", ["paper", "published"])
def test_odd_shapes(center: str, mode: str, kind: str) -> None:
    model = disturbed(Odd(center, mode))
    with torch.no_grad():
        model.a.binary_a.alpha_a.fill_(-0.6)
        model.a.weight[1] = 0.3  # alpha_w = 0
    images = torch.randn(3, 3, 11, 13)
    check_nodes(lower(model, images[:1]), images.numpy(), kind)


@pytest.mark.parametrize("kind", RUNNERS)
def test_binarized_user_module(kind: str) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 20, 3, 2, 1), nn.BatchNorm2d(20), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(20, 24, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 16, 30), nn.ReLU(), nn.Linear(30, 10),
    )  # fmt: skip
    images = torch.randn(8, 3, 16, 16)
    student = netsuke.binarize(model, calibration=images)
    check_nodes(lower(student, images[:1]), images.numpy(), kind)


@pytest.mark.parametrize("mode", ["zeros", "ones", "replicate"])
def test_the_trace_is_the_module_in_float64(mode: str) -> None:
    model = disturbed(Odd("paper", mode)).eval()
    images = torch.randn(2, 3, 11, 13)
    lowered = lower(model, images[:1])
    values = trace64(lowered, images.numpy())
    with torch.no_grad():
        expected = model.double()(images.double())
    for output, tensor in zip(lowered.graph.outputs, expected, strict=True):
        # Not closer: the file holds the filters' means and deviations in float32.
        assert_close(values[output.value].reshape(tensor.shape), tensor.numpy(), 1e-6)
