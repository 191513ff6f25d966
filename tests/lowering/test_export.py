"""`netsuke.export`: the file it writes, for every model of the registry and for modules of one's own."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cifar
import netsuke
from lowering_checks import assert_close, results, runner
from netsuke import Preprocess, artifact
from netsuke.artifact.graph import BinaryConv2d, Conv2d
from netsuke.lowering import lower
from netsuke.models import get_model
from small_images import small_images, takes_width


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


# These differ from ResNet-20 and ResNet-56 in depth alone, and float ImageNet networks in size.
SLOW = {"resnet32", "resnet44", "resnet34_imagenet", "resnet18"}
# Those that can be narrow have tests of their own, in which they are; BNext's need hard weights besides.
REST = [n for n in netsuke.list_models() if not takes_width(n)]
NAMES = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in REST]


@pytest.mark.parametrize("name", NAMES)
def test_every_registry_model(name: str, tmp_path: Path) -> None:
    """It exports, reads back and runs; where no bit can flip, it agrees with torch."""
    entry = get_model(name)
    model = netsuke.create_model(name)
    images = small_images(name, 1)
    path = netsuke.export(model, images, tmp_path / "m.netsuke", preprocess=Preprocess(**entry.preprocess), model=name)
    graph = artifact.read(path)
    assert graph.model == name
    assert graph.transform is not None
    assert graph.transform.crop == entry.preprocess.get("crop", 0)
    got = np.asarray(runner("engine", graph)(images.numpy()))
    assert got.shape == (1, entry.num_classes)
    assert np.isfinite(got).all()
    with torch.no_grad():
        expected = model.eval()(images).numpy()
    if name == entry.float_counterpart:
        assert_close(got, expected)


def test_published_adabin_resnet20(tmp_path: Path) -> None:
    """Issue 1, figures 1 and 3: at most 80,000 bytes, the same bytes twice, 18 fused binary convolutions."""
    model = cifar.published("adabin_resnet20")
    example = torch.zeros(1, 3, 32, 32)
    preprocess = Preprocess(**get_model("adabin_resnet20").preprocess)
    files = [netsuke.export(model, example, tmp_path / f"{i}.netsuke", preprocess, "adabin_resnet20") for i in range(2)]
    first, second = (path.read_bytes() for path in files)
    assert first == second
    assert len(first) <= 80_000
    nodes = artifact.read(files[0]).nodes
    binary = [node for node in nodes if isinstance(node, BinaryConv2d)]
    assert [node.name for node in binary] == [
        f"layer{stage}.{block}.conv{i}" for stage in (1, 2, 3) for block in (0, 1, 2) for i in (1, 2)
    ]
    # Batch norm is in the constants; residual, Maxout, and the next bits are in the epilogue.
    kinds = [type(step).__name__ for step in binary[0].epilogue]
    assert kinds == ["Add", "TwoSlope", "Store", "Binarize"]
    # stem, classifier, average pool, and a slice and a padding for each of two shortcuts.
    assert len(nodes) == 18 + 3 + 4


def small() -> nn.Module:
    """A float network of three layers, in eval mode."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 4)).eval()


def test_uint8_images_are_normalised_in_the_file(tmp_path: Path) -> None:
    model = small()
    preprocess = Preprocess((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), order="BGR")
    path = netsuke.export(model, torch.zeros(1, 3, 9, 9), tmp_path / "m.netsuke", preprocess)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 9, 9), np.uint8)
    x = torch.from_numpy(images[:, ::-1].astype(np.float64)) / 255
    x = (x - torch.tensor(preprocess.mean).view(3, 1, 1)) / torch.tensor(preprocess.std).view(3, 1, 1)
    with torch.no_grad():
        expected = model.double()(x).numpy()
    assert_close(np.asarray(runner("engine", artifact.read(path))(images)), expected)


def test_the_module_is_left_alone(tmp_path: Path) -> None:
    binary = nn.Sequential(netsuke.nn.BinaryConv2d(8, 8, 3), nn.BatchNorm2d(8), netsuke.nn.Maxout(8)).eval()
    model = nn.Sequential(nn.Conv2d(3, 8, 3), binary).train()
    binary.eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    parameters = [id(p) for p in model.parameters()]
    netsuke.export(model, torch.randn(4, 3, 9, 9), tmp_path / "m.netsuke")
    assert [m.training for m in model.modules()] == modes
    assert [id(p) for p in model.parameters()] == parameters
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_float_types_become_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), netsuke.nn.BinaryConv2d(4, 5, 3)).to(dtype)
    images = torch.randn(1, 3, 8, 8)
    graph = lower(model, images.to(dtype)).graph
    same = lower(copy.deepcopy(model).float(), images).graph
    assert artifact.encode(graph) == artifact.encode(same)
    assert isinstance(graph.nodes[0], Conv2d)
    assert graph.nodes[0].weight.dtype == np.float32


def test_any_batch_runs_whatever_the_example() -> None:
    model = small()
    for batch in (1, 3):
        graph = lower(model, torch.randn(batch, 3, 9, 9)).graph
        images = torch.randn(5, 3, 9, 9)
        with torch.no_grad():
            expected = model(images).numpy()
        assert_close(np.asarray(runner("engine", graph)(images.numpy())), expected)


def test_a_module_in_data_parallel_is_taken_out_of_it() -> None:
    model, images = small(), torch.randn(1, 3, 9, 9)
    assert artifact.encode(lower(nn.DataParallel(model), images).graph) == artifact.encode(lower(model, images).graph)


def test_several_outputs() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
            x = self.body(x).relu()
            return x, [self.a(x), self.b(x.mean((2, 3)))]

    model, images = Heads(), torch.randn(2, 3, 6, 7)
    graph = lower(model, images).graph
    assert [output.rank for output in graph.outputs] == [4, 4, 2]
    with torch.no_grad():
        expected = results(model(images))
    for got, tensor in zip(results(runner("engine", graph)(images.numpy())), expected, strict=True):
        assert_close(got, tensor)


def test_a_layer_used_twice_keeps_both_runs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = netsuke.nn.BinaryConv2d(3, 3, 3, padding=1)
            self.again = self.conv

        def forward(self, x: Tensor) -> Tensor:
            return self.again(self.conv(x))

    graph = lower(Twice(), torch.randn(1, 3, 5, 5)).graph
    first, second = [node for node in graph.nodes if isinstance(node, BinaryConv2d)]
    np.testing.assert_array_equal(first.weight, second.weight)


def test_subclasses_are_frozen_while_they_run_the_same_forward() -> None:
    class Renamed(netsuke.nn.BinaryConv2d):
        pass

    class Doubled(netsuke.nn.Maxout):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    images = torch.randn(1, 3, 5, 5)
    model = nn.Sequential(Renamed(3, 4, 3), Doubled(4)).eval()
    graph = lower(model, images).graph
    assert isinstance(graph.nodes[1], BinaryConv2d)
    with torch.no_grad():
        assert_close(np.asarray(runner("engine", graph)(images.numpy())), model(images).numpy())


def test_a_layer_that_is_the_whole_module() -> None:
    graph = lower(netsuke.nn.BinaryConv2d(3, 3, 3), torch.randn(1, 3, 5, 5)).graph
    assert [type(node).__name__ for node in graph.nodes] == ["Identity", "BinaryConv2d"]


def test_names_that_the_file_cannot_hold_are_mended(tmp_path: Path) -> None:
    model = nn.Sequential()
    model.add_module("schön" + "x" * 300, nn.Conv2d(3, 3, 1))
    path = netsuke.export(model, torch.randn(1, 3, 5, 5), tmp_path / "m.netsuke")
    (node,) = artifact.read(path).nodes
    assert node.name.startswith("sch_nxxx")
    assert len(node.name) == 200
