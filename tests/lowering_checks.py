"""Both sides of an export on one input: the torch module, and what runs its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
import pytest
import torch
from benchmarks.detection_agreement import agreement
from torch import nn
from torch.nn import functional as F

import netsuke
from netsuke import artifact
from netsuke.artifact.graph import Binarize, BinaryConv2d, Detect, Graph, Identity, Mean, Output, Quantize, Read, Store
from netsuke.engine import available_isas
from netsuke.lowering import Lowered
from netsuke.lowering.trace import trace64_decided

# The numpy reference, and the engine on every instruction set of this machine ("engine" lets it choose).
RUNNERS = ["reference", *(available_isas() or ["engine"])]


class Runner(Protocol):
    def __call__(self, images: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]: ...

    def run_node(self, index: int, values: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]: ...


def runner(kind: str, graph: Graph) -> Runner:
    """One of RUNNERS, or "engine"; skips the test where the engine was not compiled."""
    if kind == "reference":
        return artifact.Reference(graph)
    if not available_isas():
        pytest.skip("the engine is not compiled here")
    return netsuke.load(artifact.encode(graph), isa=None if kind == "engine" else kind)


def results(value: object) -> list[np.ndarray]:
    """One output or several, however nested, as float64 arrays."""
    leaves = torch.utils._pytree.tree_leaves(value)
    return [np.asarray(v.detach() if isinstance(v, torch.Tensor) else v, np.float64) for v in leaves]


def assert_close(got: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Equal shapes, and every difference within `tolerance` of the largest expected number."""
    assert got.shape == expected.shape
    scale = max(float(np.abs(expected).max()), 1e-30)
    assert float(np.abs(got - expected).max()) <= tolerance * scale


def check_module(module: nn.Module, images: torch.Tensor, kinds: list[str]) -> Lowered:
    """Lower `module` and compare its float64 form with each runner on `images`. For modules without bits."""
    lowered = netsuke.lowering.lower(module, images[:1])
    with torch.no_grad():
        expected = results(module.eval().double()(images.double()))
    module.float()
    for kind in kinds:
        got = results(runner(kind, lowered.graph)(images.numpy()))
        assert len(got) == len(expected)
        for g, e in zip(got, expected, strict=True):
            assert_close(g, e)
    return lowered


def check_nodes(lowered: Lowered, images: np.ndarray, kind: str) -> None:
    """DESIGN.md section 7: every node, fed the float64 module's own input to it, gives its output within 1e-5.

    Bits may differ only where the module stands that close to the threshold, codes only where it stands that close to
    the middle between two, and of detections one in a hundred: scores that float32 cannot tell apart rank in another
    order. Binary dot products are exact. Quantized layers must have been trained so.
    """
    true, binarized, rounded = trace64_decided(lowered, images)
    graph = lowered.graph
    run = runner(kind, graph)
    assert len(true) == len(artifact.infer(graph))
    for index, node in enumerate(graph.nodes):
        read = [*node.inputs, *(step.value for step in node.epilogue if isinstance(step, Read))]
        given = {v: true[v].astype(np.float32) if true[v].dtype == np.float64 else true[v] for v in read}
        made = run.run_node(index, given)
        for step in node.epilogue:
            if isinstance(node, Detect) and isinstance(step, Store):
                for rows, expected in zip(made[step.out][..., 0], true[step.out][..., 0], strict=True):
                    total, agreed = agreement(rows, expected)
                    assert agreed >= 0.99 * total
            elif isinstance(step, Store | Mean):
                assert_close(made[step.out].astype(np.float64), true[step.out])
            if isinstance(step, Binarize):
                wrong = made[step.out] != true[step.out]
                before, threshold = binarized[step.out]
                near = np.abs(before - threshold.reshape(1, -1, 1, 1)) <= 1e-5 * np.abs(before).max()
                assert not (wrong & ~near).any(), f"{node.name}: {wrong.sum()} bits differ far from the threshold"
            if isinstance(step, Quantize):
                off = np.abs(made[step.out].astype(np.float64) - np.clip(rounded[step.out], 0, (1 << step.bits) - 1))
                assert off.max() <= 0.5 + 1e-5 * max(1.0, np.abs(rounded[step.out] - step.zero).max())
        if isinstance(node, BinaryConv2d):
            bits = true[node.inputs[0]]
            dots = runner(kind, dot_product_graph(node, bits.shape[1:]))(bits.astype(np.float32))
            np.testing.assert_array_equal(dots, exact_dot(node, bits))


def dot_product_graph(node: BinaryConv2d, shape: tuple[int, ...]) -> Graph:
    """The binary convolution alone and bare, so that it gives D, the sum of s_w * s_a. Its input is -1 and +1."""
    one, zero = np.ones(len(node.weight), np.float32), np.zeros(len(node.weight), np.float32)
    bare = replace(node, inputs=[1], epilogue=[Store(2)], alpha_w=one, beta_w=zero, bias=zero, alpha_a=1.0, gamma=0.0)
    signs = Identity("signs", [0], [Binarize(np.zeros(1, np.float32), False, 1)])
    channels, height, width = shape
    return Graph("dot", (channels, height, width), [signs, bare], [Output(2, 4)])


def exact_dot(node: BinaryConv2d, bits: np.ndarray) -> np.ndarray:
    """The same sum by torch, in float64, where whole numbers are exact."""
    top, left, bottom, right = node.padding
    x, pads = torch.from_numpy(bits).double(), (left, right, top, bottom)
    if node.padding_mode == "replicate":
        x = F.pad(x, pads, mode="replicate")
    else:
        x = F.pad(x, pads, value=float(node.padding_mode == "ones"))
    weight = torch.from_numpy(node.weight.astype(np.float64).transpose(0, 3, 1, 2))
    return F.conv2d(x, weight, None, node.stride, 0, node.dilation, node.groups).numpy()
