"""Which range an activation gets from calibration images, and what is refused as such."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netsuke
from netsuke import Error
from netsuke.artifact.graph import Int8Conv2d, Quantize
from netsuke.lowering import lower
from netsuke.nn.coding import Histogram, best_range, coding

IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


# ------------------------------------------------------------------------------------------- the range
def squared_error(x: np.ndarray, ends: tuple[float, float]) -> float:
    code = coding(*ends)
    q = np.clip(np.rint(x / code.scale) + code.zero, 0, 255)
    return float(((x - (q - code.zero) * code.scale) ** 2).mean())


DISTRIBUTIONS = {
    "normal": lambda rng: rng.normal(size=4000),
    "relu": lambda rng: np.maximum(rng.normal(size=4000), 0),
    "laplace": lambda rng: rng.laplace(size=4000),
    "uniform": lambda rng: rng.uniform(-3, 1, 4000),
    "one outlier": lambda rng: np.append(rng.normal(size=4000), 20.0),
    "negative": lambda rng: -rng.exponential(size=4000),
}


def histogram(*parts: np.ndarray) -> Histogram:
    made = Histogram()
    for part in parts:
        made.add(torch.from_numpy(part.astype(np.float32)))
    return made


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_range_is_as_good_as_an_exhaustive_search(name: str) -> None:
    """Both ends over a fine grid, on the numbers themselves: within 2 % of the least error there."""
    x = DISTRIBUTIONS[name](np.random.default_rng(0)).astype(np.float32).astype(np.float64)
    low, high = min(x.min(), 0.0), max(x.max(), 0.0)
    found = squared_error(x, best_range(histogram(x)))
    grid = np.linspace(0.1, 1, 37)
    assert found <= 1.02 * min(squared_error(x, (a * low, b * high)) for a in grid for b in grid)


def test_an_outlier_is_clipped() -> None:
    x = np.append(np.random.default_rng(0).normal(size=1_000_000), 30.0)
    assert best_range(histogram(x))[1] < 15


def test_a_uniform_activation_is_not_clipped() -> None:
    assert best_range(histogram(np.linspace(-1, 3, 100_000))) == pytest.approx((-1.0, 3.0), rel=0.02)


def test_an_activation_of_zeros() -> None:
    assert best_range(histogram(np.zeros(9))) == (0.0, 0.0)


def test_a_histogram_grows_with_its_numbers() -> None:
    """Every number is counted once, in a bin that holds it, whatever came before; zeros are not."""
    rng = np.random.default_rng(0)
    parts = [scale * rng.normal(size=1000).astype(np.float32) for scale in (1e-3, 1, 1e-6, 50, 3)]
    grown = histogram(*parts, np.zeros(7))
    whole = histogram(np.concatenate(parts))
    assert (grown.low, grown.high, grown.limit) == (whole.low, whole.high, whole.limit)
    np.testing.assert_array_equal(grown.counts, whole.counts)
    middles, counts = whole.filled()
    assert counts.sum() == 5000
    width = 2 * whole.limit / len(whole.counts)
    ordered = np.repeat(middles, counts)
    assert np.abs(np.sort(np.concatenate(parts)) - ordered).max() <= width / 2 * 1.0001


@pytest.mark.parametrize("size", [1e-45, 1e-30, 3.4e38])
def test_numbers_of_any_size(size: float) -> None:
    made = histogram(np.array([size, -size / 2, size / 3]))
    low, high = best_range(made)
    assert made.counts.sum() == np.count_nonzero(np.float32([size, -size / 2, size / 3]))
    assert -size <= low <= 0 <= high <= 1.0001 * size + 1e-44


# ------------------------------------------------------------------------------------------- from images
def steps(calibration: Any, module: nn.Module) -> list[Quantize]:
    graph = lower(module, IMAGES, float_layers="int8", calibration=calibration).graph
    return [step for node in graph.nodes for step in node.epilogue if isinstance(step, Quantize)]


def test_the_ranges_are_those_of_the_float_activations() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    quantize = steps(IMAGES, module)
    with torch.no_grad():
        hidden = module[1](module[0](IMAGES))
    assert [step.zero for step in quantize] == [0, 0]  # nothing is negative
    for step, x in zip(quantize, (IMAGES, hidden), strict=True):
        top = 255 / step.multiplier
        assert 0.8 * float(x.max()) <= top <= 1.01 * float(x.max())


def test_batches_are_one_set_however_they_are_given() -> None:
    module = nn.Conv2d(3, 2, 3)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(IMAGES, torch.zeros(6)), batch_size=4)
    expected = steps(IMAGES, module)
    for form in (IMAGES.double(), IMAGES.numpy(), list(IMAGES.split(2)), (b for b in IMAGES.split(5)), loader):
        assert steps(form, module) == expected
    assert steps(IMAGES[:1], module) != expected


def test_more_images_than_run_at_a_time() -> None:
    """The largest number counts, in whichever part it lies."""
    many = torch.rand(40, 3, 8, 8)
    many[20] *= 2
    assert 1.5 < 255 / steps(many, nn.Conv2d(3, 2, 3))[0].multiplier < 2.1


class Dead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
        with torch.no_grad():
            self.a.weight.zero_()
            self.a.bias.fill_(-1)
            self.b.weight[0] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x)))


def test_an_activation_that_is_always_zero_and_weights_that_are() -> None:
    module = Dead().eval()
    graph = lower(module, IMAGES, float_layers="int8", calibration=IMAGES).graph
    found = netsuke.artifact.Reference(graph)(IMAGES.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(found, module(IMAGES).numpy(), atol=1e-6)


def test_an_activation_behind_channels_and_zeros_padded_at_once() -> None:
    """The graph pads channels in a node and zeros in the convolution; the module has no tensor of the first alone."""

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(5, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(F.pad(x, (1, 1, 1, 1, 0, 2)))

    module = Padded().eval()
    graph = lower(module, IMAGES, float_layers="int8", calibration=IMAGES).graph
    assert any(isinstance(node, Int8Conv2d) for node in graph.nodes)
    with torch.no_grad():
        expected = module(IMAGES).numpy()
    found = netsuke.artifact.Reference(graph)(IMAGES.numpy())
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


# ------------------------------------------------------------------------------------------- refused
@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        (torch.zeros(0, 3, 8, 8), "holds no images"),
        ([], "holds no images"),
        (iter([]), "holds no images"),
        (torch.zeros(2, 3, 8, 9), r"a batch of shape \(2, 3, 8, 9\): give normalised float images \(N, 3, 8, 8\)"),
        (torch.zeros(3, 8, 8), "a batch of shape"),
        ([IMAGES, IMAGES[:, :1]], "a batch of shape"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "holds torch.uint8 numbers"),
        (np.zeros((2, 3, 8, 8), np.uint8), "holds uint8 numbers"),
        (IMAGES * float("nan"), "not finite"),
        (IMAGES / 0, "not finite"),
        ("images.npy", "holds an item of type str"),
        (7, "is of type int: give"),
    ],
)
def test_wrong_images(calibration: Any, words: str) -> None:
    with pytest.raises(Error, match=words) as caught:
        lower(nn.Conv2d(3, 2, 1), IMAGES, float_layers="int8", calibration=calibration)
    assert len(str(caught.value).splitlines()) <= 2


def test_missing_images() -> None:
    with pytest.raises(Error, match="needs calibration images"):
        lower(nn.Conv2d(3, 2, 1), IMAGES, float_layers="int8")


def test_images_for_nothing() -> None:
    with pytest.raises(Error, match="or 'int4': give that too"):
        lower(nn.Conv2d(3, 2, 1), IMAGES, calibration=IMAGES)


@pytest.mark.parametrize("kind", ["int2", "INT8", None, 8])
def test_unknown_kinds(kind: Any) -> None:
    with pytest.raises(Error, match="'float32', 'int8' or 'int4'"):
        lower(nn.Conv2d(3, 2, 1), IMAGES, float_layers=kind, calibration=IMAGES)


def test_a_network_that_overflows_on_the_images() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1))
    with torch.no_grad():
        module[0].weight.fill_(1e38)
    with pytest.raises(Error, match="the result of 'conv2d' in the float model is not finite"):
        lower(module, IMAGES, float_layers="int8", calibration=100 * IMAGES)


def test_a_damaged_network_is_named_before_it_is_calibrated() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1))
    with torch.no_grad():
        module[1].weight.fill_(float("nan"))
    with pytest.raises(Error, match="layer '1' has numbers that are not finite"):
        lower(module, IMAGES, float_layers="int8", calibration=IMAGES)
