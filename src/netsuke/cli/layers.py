"""One entry a node: what it is, its shapes, weights and multiply-accumulates."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from netsuke import artifact
from netsuke.artifact.graph import AveragePool, Binarize, BinaryConv2d, Conv2d, Graph, MaxPool, Node, Store

RUNS = 50
OPS = {
    "Conv2d": "conv2d",
    "BinaryConv2d": "binary_conv2d",
    "MaxPool": "max_pool",
    "AveragePool": "average_pool",
    "PadChannels": "pad_channels",
    "Concat": "concat",
    "Identity": "identity",
}
STEPS = {
    "Affine": "affine",
    "Add": "add",
    "TwoSlope": "two_slope",
    "Clamp": "clamp",
    "Binarize": "binarize",
    "Store": "store",
}


def describe(graph: Graph) -> list[dict[str, Any]]:
    """For each node: name, op, output (C, H, W), kernel, weights, bits of a weight, macs of one image, epilogue.

    kernel is None and weights, bits, macs are 0 for nodes without weights.
    """
    values = artifact.infer(graph)
    entries = []
    for node in graph.nodes:
        # Every value that an epilogue makes has the shape of the node's result.
        made = [values[step.out].shape for step in node.epilogue if isinstance(step, Binarize | Store)]
        entry: dict[str, Any] = {
            "name": node.name,
            "op": OPS[type(node).__name__],
            "output": list(made[0]) if made else [],
            "kernel": list(_kernel(node)) or None,
            "weights": 0,
            "bits": 0,
            "macs": 0,
            "epilogue": [STEPS[type(step).__name__] for step in node.epilogue],
        }
        if isinstance(node, Conv2d | BinaryConv2d):
            taps = math.prod(node.weight.shape[1:])
            entry["weights"] = node.weight.size
            entry["bits"] = 1 if isinstance(node, BinaryConv2d) else 32
            entry["macs"] = math.prod(made[0]) * taps if made else 0
        entries.append(entry)
    return entries


def _kernel(node: Node) -> tuple[int, ...]:
    if isinstance(node, Conv2d | BinaryConv2d):
        return node.weight.shape[1:3]
    return node.kernel if isinstance(node, MaxPool | AveragePool) else ()


def time_layers(
    file: Path, graph: Graph, threads: int, isa: str | None, batch: int, cores: list[int]
) -> list[dict[str, Any]]:
    """For each node: name, op, us (microseconds an image), share of the whole, gmacs (GMAC/s, or None)."""
    from netsuke.engine import load

    images = np.random.default_rng(0).standard_normal((batch, *graph.input_shape), np.float32)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        engine = load(file, threads=threads, isa=isa)  # its threads inherit the cores
        times = engine.profile(images, runs=RUNS)
    finally:
        os.sched_setaffinity(0, allowed)
    whole = sum(seconds for _, _, seconds in times)
    return [
        {
            "name": name,
            "op": op,
            "us": 1e6 * seconds,
            "share": seconds / whole,
            "gmacs": layer["macs"] / seconds / 1e9 if layer["macs"] else None,
        }
        for (name, op, seconds), layer in zip(times, describe(graph), strict=True)
    ]
