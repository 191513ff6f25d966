"""8-bit networks: each node against torch, each runner against the reference, whole networks against the float ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import cifar
import graphs
import netsuke
from lowering_checks import RUNNERS, assert_close, runner
from netsuke import artifact
from netsuke.artifact.graph import Add, BinaryConv2d, Conv2d, Graph, Int8Conv2d, Quantize, Store
from netsuke.data import open_dataset
from netsuke.lowering import Lowered, lower
from netsuke.lowering.trace import trace64


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


class Odd(nn.Module):
    """Shapes that are no multiple of anything, groups, depth-wise, dilation, uneven padding, a branch, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3, bias=False)
        self.norm = nn.BatchNorm2d(10)
        self.grouped = nn.Conv2d(10, 6, (3, 2), (2, 1), (1, 0), groups=2)
        self.deep = nn.Conv2d(6, 6, 2, padding="same", dilation=(2, 3), groups=6)
        self.short = nn.Conv2d(10, 6, 1, (2, 1))
        self.wide = nn.Linear(6 * 5 * 10, 11)
        self.last = nn.Linear(11, 5, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.leaky_relu(self.norm(self.stem(x)), 0.3)
        x = self.deep(F.relu6(self.grouped(x))) + F.avg_pool2d(self.short(x), (1, 2), 1)
        return self.last(F.relu(self.wide(x.flatten(1)))), x


def odd() -> tuple[Lowered, Lowered, Tensor]:
    """The network in float, in 8 bits, and images that it was not calibrated on."""
    module = Odd()
    with torch.no_grad():
        module.norm.weight.copy_(torch.randn(10))
        module.norm.running_var.copy_(torch.rand(10) + 0.5)
        module.grouped.weight[1] = 0
    calibration = torch.randn(20, 3, 11, 13)
    images = torch.randn(3, 3, 11, 13)
    quantized = lower(module, images[:1], float_layers="int8", calibration=calibration)
    return lower(module, images[:1]), quantized, images


def convolutions(graph: Graph, kind: type) -> dict[str, Conv2d | Int8Conv2d]:
    return {node.name: node for node in graph.nodes if isinstance(node, kind)}


def test_every_float_layer_becomes_an_8_bit_one() -> None:
    before, after, _ = odd()
    assert not convolutions(after.graph, Conv2d)
    assert list(convolutions(after.graph, Int8Conv2d)) == list(convolutions(before.graph, Conv2d))
    steps = [step for node in after.graph.nodes for step in node.epilogue if isinstance(step, Quantize)]
    assert len(steps) == 6 - 1  # two layers read the same value


def test_weights_are_those_of_the_folded_layer() -> None:
    """Every weight within half a step of the float layer's, batch norm folded; biases are the float ones."""
    before, after, _ = odd()
    for name, node in convolutions(before.graph, Conv2d).items():
        quantized = convolutions(after.graph, Int8Conv2d)[name]
        scale = quantized.weight_scale[:, None, None, None]
        assert (np.abs(quantized.weight * scale - node.weight) <= 0.5001 * scale).all()
        np.testing.assert_array_equal(quantized.bias, node.bias)


@pytest.mark.parametrize("kind", RUNNERS)
def test_each_layer_against_torch_on_the_numbers_that_its_codes_stand_for(kind: str) -> None:
    """Fed codes of the float64 module's own activations: a float64 convolution of them, within 1e-5."""
    before, after, images = odd()
    true = {before.origin[value].name: array for value, array in trace64(before, images.numpy()).items()}
    makers = {step.out: step for node in after.graph.nodes for step in node.epilogue if isinstance(step, Quantize)}
    sources = {node.name: before.origin[node.inputs[0]].name for node in before.graph.nodes}
    for name, node in convolutions(after.graph, Int8Conv2d).items():
        step = makers[node.inputs[0]]
        x = true[sources[name]]
        q = np.clip(np.rint(x * step.multiplier + step.zero), 0, 255).astype(np.uint8)
        assert np.abs((q.astype(float) - step.zero) / step.multiplier - x).mean() < 1 / step.multiplier
        expected = float64_convolution(node, (q.astype(np.float64) - node.zero) * node.activation_scale)
        bare = replace(node, inputs=[1], epilogue=[Store(2)])
        graph = graphs.uint8_graph(q.shape[1:], bare, Quantize(step.multiplier, step.zero, 1))
        assert_close(runner(kind, graph).run_node(1, {1: q})[2].astype(np.float64), expected)


def float64_convolution(node: Int8Conv2d, x: np.ndarray) -> np.ndarray:
    top, left, bottom, right = node.padding
    padded = F.pad(torch.from_numpy(x), (left, right, top, bottom))
    weight = node.weight_scale.astype(np.float64)[:, None, None, None] * node.weight
    weight = torch.from_numpy(np.ascontiguousarray(weight.transpose(0, 3, 1, 2)))
    bias = torch.from_numpy(node.bias.astype(np.float64))
    return F.conv2d(padded, weight, bias, node.stride, 0, node.dilation, node.groups).numpy()


@pytest.mark.parametrize("kind", RUNNERS)
def test_nodes_and_network_equal_the_reference(kind: str) -> None:
    _, after, images = odd()
    check_bits(after.graph, images.numpy(), kind)


def check_bits(graph: Graph, images: np.ndarray, kind: str) -> None:
    reference, run = artifact.Reference(graph), runner(kind, graph)
    graphs.assert_same_bits(run(images), reference(images))
    trace = reference.trace(images)
    for index, node in enumerate(graph.nodes):
        read = {*node.inputs, *(step.value for step in node.epilogue if isinstance(step, Add))}
        for value, made in run.run_node(index, {value: trace[value] for value in read}).items():
            graphs.assert_same_bits(made, trace[value])


def test_the_network_is_near_the_float_one() -> None:
    """Within 3 % of the largest output: 8 bits give each layer an error of about 1/255 of its range, and add up."""
    before, after, images = odd()
    pairs = zip(*(artifact.Reference(g.graph)(images.numpy()) for g in (before, after)), strict=True)
    for expected, found in pairs:
        assert np.abs(found - expected).max() <= 0.03 * np.abs(expected).max()


# ------------------------------------------------------------------------------------------- networks of the registry
@pytest.mark.parametrize("kind", RUNNERS)
def test_a_binary_network(kind: str) -> None:
    """First and last layer in 8 bits, the others still in one."""
    model = netsuke.create_model("adabin_resnet20")
    images = torch.randn(8, 3, 32, 32)
    graph = lower(model, images[:1], float_layers="int8", calibration=images).graph
    kinds = [type(node) for node in graph.nodes]
    assert kinds.count(Int8Conv2d) == 2
    assert kinds.count(BinaryConv2d) == 18
    assert Conv2d not in kinds
    check_bits(graph, images[:2].numpy(), kind)


def test_a_float_network_wholly_in_8_bits(tmp_path: Path) -> None:
    """ResNet-20 of random weights: a quarter of the bytes, and logits within 5 % of the largest."""
    model = netsuke.create_model("resnet20").eval()
    images = torch.randn(16, 3, 32, 32)
    paths = [tmp_path / "float", tmp_path / "int8"]
    netsuke.export(model, images, paths[0])
    netsuke.export(model, images, paths[1], float_layers="int8", calibration=images)
    graph = artifact.read(paths[1])
    assert not any(isinstance(node, Conv2d) for node in graph.nodes)
    assert paths[1].stat().st_size < 0.27 * paths[0].stat().st_size
    found = np.asarray(runner("engine", graph)(images.numpy()))
    expected = cifar.outputs(model, images).numpy()
    assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()


def test_the_same_images_give_the_same_file() -> None:
    model, images = netsuke.create_model("resnet20"), torch.randn(4, 3, 32, 32)
    files = [artifact.encode(lower(model, images, float_layers="int8", calibration=images).graph) for _ in range(2)]
    assert files[0] == files[1]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("resnet20", 1.0), ("adabin_resnet20", 2.5)])
def test_published_networks_keep_their_accuracy(name: str, most: float) -> None:
    """Top-1 on 1,000 test images falls by at most `most` points, calibrated on 256 training images.

    Float: 8 bits with a scale a channel cost well under a point after training alone (Krishnamoorthi 2018, table 3).
    Binary: any disturbance flips bits near their thresholds; noise of 1e-4 on the images changes the class of 7 in 100
    already, 8 bits that of 8. If each of 80 changes gains or loses an image by chance, the balance has a standard
    deviation of at most 0.9 points.
    """
    model = cifar.published(name)
    images, labels = cifar.images_and_labels(1000)
    training = open_dataset(f"cifar10:{cifar.IMAGES.parent}", "train")
    calibration = cifar.normalised(training.read(np.arange(256) * len(training) // 256)[0])
    batch = cifar.normalised(images)
    graph = lower(model, batch[:1], float_layers="int8", calibration=calibration).graph
    found = np.asarray(runner("engine", graph)(batch.numpy())).argmax(1)
    expected = cifar.outputs(model, batch).argmax(1).numpy()
    before, after, equal = (100 * same.mean() for same in (expected == labels, found == labels, found == expected))
    print(
        f"{name}: top-1 {before:.1f} % in float, {after:.1f} % in int8; {equal:.1f} % of the images get the same class"
    )
    assert after >= before - most
