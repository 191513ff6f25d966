"""BNext through reference and engine against the torch module, as DESIGN.md section 7 defines it."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cifar
import netsuke
from lowering_checks import RUNNERS, check_nodes, runner
from netsuke import artifact
from netsuke.artifact.graph import Identity, Multiply
from netsuke.data import open_dataset
from netsuke.data.normalise import normalise
from netsuke.engine import available_isas
from netsuke.lowering import Lowered, lower
from netsuke.lowering.trace import trace64
from netsuke.models import get_model
from netsuke.nn import progressive

IMAGENET = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "imagenet-samples"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def cifar_images(count: int) -> Tensor:
    """The middles of CIFAR-10 images: (N, 3, 16, 16)."""
    return cifar.normalised(cifar.images_and_labels(count)[0])[:, :, 8:24, 8:24]


def imagenet_images(count: int) -> Tensor:
    """Of as many classes, as BNext is given them: (N, 3, 224, 224)."""
    if not IMAGENET.exists():
        pytest.skip("needs the ImageNet samples at ../shared/data/imagenet-samples")
    preprocess = netsuke.Preprocess(**get_model("bnext_tiny").preprocess)
    dataset = open_dataset(f"imagefolder:{IMAGENET}", "test", sizing=preprocess, channels=3)
    images = np.concatenate([part for part, _ in dataset.batches(16, count)])
    return torch.from_numpy(normalise(images, preprocess))


def settled(name: str, images: Tensor, **arguments: object) -> nn.Module:
    """The model with hard weights, learned numbers away from where they start, and statistics of these images."""
    model = netsuke.create_model(name, **arguments)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for path, tensor in model.named_parameters():
            spread = torch.randn(tensor.shape, generator=generator)
            if path.endswith("recouple.scale"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator))
            elif tensor.dim() == 1 or path.endswith("binary_a.bias"):
                tensor.add_(0.2 * spread)
    progressive(model, 1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model.train()(images)
    return model.eval()


SMALL = {"num_classes": 10, "width": 0.25}
DESIGNS = {
    "whole": {},
    "no attention": {"attention": False},
    "no recoupling": {"recoupling": False},
    "neither": {"attention": False, "recoupling": False},
    "xnor": {"module": "xnor"},
    "real_to_binary": {"module": "real_to_binary"},
}


@cache
def narrow(name: str, count: int = 16) -> tuple[nn.Module, Lowered]:
    images = cifar_images(count)
    model = settled(name, images, **SMALL)
    return model, lower(model, images[:1])


@pytest.mark.parametrize("kind", RUNNERS)
def test_narrow(kind: str) -> None:
    check_nodes(narrow("bnext_tiny")[1], cifar_images(2).numpy(), kind)


def test_narrow_18() -> None:
    check_nodes(narrow("bnext18")[1], cifar_images(2).numpy(), "engine")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bnext_tiny", "bnext18"])
@pytest.mark.parametrize("design", DESIGNS)
def test_designs(name: str, design: str) -> None:
    # Many whole images: the last maps have 4 pixels, and a channel that is constant over all has no variance; the
    # inverse of its deviation magnifies any rounding.
    images = cifar.normalised(cifar.images_and_labels(64)[0])
    model = settled(name, images, **SMALL, **DESIGNS[design])
    check_nodes(lower(model, images[:1]), images[:2].numpy(), "engine")


def test_no_map_is_made_twice() -> None:
    """A unit is two passes over its maps, the convolution and what is behind the gate; a gate is of single pixels."""
    graph = narrow("bnext_tiny")[1].graph
    kinds = Counter(type(node).__name__ for node in graph.nodes)
    # 13 blocks of a 3x3 unit and, where channels double (5 times), two 1x1 units, else one. The last of the 4 pools has
    # one window only: it is a mean.
    assert (kinds["BinaryConv2d"], kinds["Concat"], kinds["AveragePool"]) == (31, 5, 3)
    assert sum(any(isinstance(step, Multiply) for step in node.epilogue) for node in graph.nodes) == 31
    assert kinds["Conv2d"] == 1 + 2 * 31 + 1
    values = artifact.infer(graph)
    passes = [node for node in graph.nodes if isinstance(node, Identity) and values[node.inputs[0]].shape[1] > 1]
    assert len(passes) == sum(
        values[node.inputs[0]].shape[1] > 1
        for node in graph.nodes
        if any(isinstance(step, Multiply) for step in node.epilogue)
    )


@pytest.mark.parametrize(("name", "count"), [("bnext18", 40), pytest.param("bnext_tiny", 200, marks=pytest.mark.slow)])
def test_whole_network(name: str, count: int) -> None:
    """Where no bit differs from the float64 module, outputs agree within 1e-4 of the largest. No more images differ by
    over 1e-3 than differ between torch's own float32 and float64."""
    images = cifar_images(count)
    model, lowered = narrow(name)
    output = lowered.graph.outputs[0].value
    engine, reference = runner("engine", lowered.graph), artifact.Reference(lowered.graph)
    made = np.asarray(engine(images.numpy()))
    flips, errors, torch_errors = [], [], []
    for part, got, torch32 in zip(
        images.split(20), np.split(made, range(20, count, 20)), cifar.outputs(model, images).split(20), strict=True
    ):
        true, values = trace64(lowered, part.numpy()), reference.trace(part.numpy())
        bits = [v for v in true if true[v].dtype == np.int8]
        flips.append(np.any([(true[v] != values[v]).reshape(len(part), -1).any(1) for v in bits], axis=0))
        expected = true[output].reshape(len(part), -1)
        scale = np.abs(expected).max(1)
        errors.append(np.abs(got - expected).max(1) / scale)
        torch_errors.append(np.abs(torch32.numpy() - expected).max(1) / scale)
        np.testing.assert_array_equal(got, values[output].reshape(len(part), -1))
    flipped, ours, own = np.concatenate(flips), np.concatenate(errors), np.concatenate(torch_errors)
    assert flipped.mean() < 0.5, "too few images are left to compare"
    assert ours[~flipped].max() < 1e-4
    assert (ours > 1e-3).sum() <= (own > 1e-3).sum()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bnext_tiny", "bnext_small", "bnext18"])
def test_published_widths_on_real_images(name: str) -> None:
    images = imagenet_images(8)
    lowered = lower(settled(name, images), images[:1])
    for isa in available_isas()[1:] or ["engine"]:
        check_nodes(lowered, images[:1].numpy(), isa)
