"""One entry a node: what it is, its shapes, weights and multiply-accumulates."""

from __future__ import annotations

import math
import os
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from netsuke.artifact.graph import (
    AveragePool,
    Convolution,
    Detect,
    FixedAveragePool,
    FixedConv2d,
    FixedMaxPool,
    Graph,
    Int8Conv2d,
    MaxPool,
    Node,
)
from netsuke.artifact.infer import Inference

RUNS = 50
TURNS = 10
BITS = {"conv2d": 32, "binary_conv2d": 1}  # of a weight
# The bare loop of engine.peak that limits an operator.
LOOPS = {
    "conv2d": "float_gmacs",
    "binary_conv2d": "binary_gmacs",
    "int8_conv2d": "int8_gmacs",
    "fixed_conv2d": "int8_gmacs",
}
OPS = {
    "Conv2d": "conv2d",
    "BinaryConv2d": "binary_conv2d",
    "Int8Conv2d": "int8_conv2d",
    "FixedConv2d": "fixed_conv2d",
    "FixedMaxPool": "fixed_max_pool",
    "FixedAveragePool": "fixed_average_pool",
    "FixedCopy": "fixed_copy",
    "MaxPool": "max_pool",
    "AveragePool": "average_pool",
    "PadChannels": "pad_channels",
    "Concat": "concat",
    "Gather": "gather",
    "Logic": "logic",
    "Normalize": "normalize",
    "Detect": "detect",
    "Identity": "identity",
}
STEPS = {
    "Affine": "affine",
    "Add": "add",
    "Multiply": "multiply",
    "Sigmoid": "sigmoid",
    "TwoSlope": "two_slope",
    "Clamp": "clamp",
    "Binarize": "binarize",
    "Quantize": "quantize",
    "ToFixed": "to_fixed",
    "Store": "store",
    "Mean": "mean",
}


def describe(graph: Graph) -> list[dict[str, Any]]:
    """For each node: name, op, output (C, H, W), kernel, weights, bits of a weight, macs of one image, epilogue.

    kernel is None and weights, bits, macs are 0 for nodes without weights. A detect has its labels too.
    """
    inference = Inference(graph.model, graph.input_shape, graph.transform)
    entries = []
    for node in graph.nodes:
        shape = inference.add_result(node)
        inference.add_epilogue(node, shape)
        entry: dict[str, Any] = {
            "name": node.name,
            "op": OPS[type(node).__name__],
            "output": list(shape),
            "kernel": list(_kernel(node)) or None,
            "weights": 0,
            "bits": 0,
            "macs": 0,
            "epilogue": [STEPS[type(step).__name__] for step in node.epilogue],
        }
        if isinstance(node, Convolution):
            taps = math.prod(node.weight.shape[1:])
            entry["weights"] = node.weight.size
            entry["bits"] = node.bits if isinstance(node, Int8Conv2d | FixedConv2d) else BITS[entry["op"]]
            entry["macs"] = math.prod(shape) * taps
        if isinstance(node, Detect):
            entry["labels"] = list(node.labels)
        entries.append(entry)
    return entries


def _kernel(node: Node) -> tuple[int, ...]:
    if isinstance(node, Convolution):
        return node.weight.shape[1:3]
    return node.kernel if isinstance(node, MaxPool | AveragePool | FixedMaxPool | FixedAveragePool) else ()


def time_layers(
    file: Path, graph: Graph, threads: int, isa: str | None, batch: int, cores: list[int]
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The time of every node, and what the arithmetic of the cores allows.

    Returns:
        For each node: name, op, us (microseconds an image), share of the whole, macs of one image, in_channels (of a
        group), gmacs (GMAC/s) and of_peak (gmacs over the bare loop's); the last four are None without weights.
        The rates of the bare loops as `engine.peak`, times the threads. They and the nodes take turns in TURNS
        turns, so that a change of clock speed meets both; every figure is a median of the turns.
    """
    from netsuke.engine import load, peak

    images = np.random.default_rng(0).standard_normal((batch, *graph.input_shape), np.float32)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        engine = load(file, threads=threads, isa=isa)  # its threads inherit the cores
        peaks, turns = [peak(isa)], []
        for _ in range(TURNS):
            turns.append(engine.profile(images, runs=RUNS // TURNS))
            peaks.append(peak(isa))
    finally:
        os.sched_setaffinity(0, allowed)
    limits = {kind: threads * statistics.median(turn[kind] for turn in peaks) for kind in peaks[0]}
    seconds = [statistics.median(node[2] for node in nodes) for nodes in zip(*turns, strict=True)]
    timed = [
        _timed(node, entry, taken, sum(seconds), limits)
        for node, entry, taken in zip(graph.nodes, describe(graph), seconds, strict=True)
    ]
    return timed, limits


def _timed(node: Node, entry: dict[str, Any], seconds: float, whole: float, limits: dict[str, float]) -> dict[str, Any]:
    rate = entry["macs"] / seconds / 1e9 if entry["macs"] else None
    limit = limits.get(LOOPS.get(entry["op"], ""))
    return {
        "name": entry["name"],
        "op": entry["op"],
        "us": 1e6 * seconds,
        "share": seconds / whole,
        "macs": entry["macs"] or None,
        "in_channels": node.weight.shape[3] if isinstance(node, Convolution) else None,
        "gmacs": rate,
        "of_peak": rate / limit if rate is not None and limit else None,
    }
