"""What a `detect` becomes: softmax, default boxes, NonMaxSuppression over the best of each class, and the best rows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from onnx import TensorProto

from netsuke.artifact.detect import LARGEST_SIZE, default_boxes
from netsuke.artifact.graph import Detect
from netsuke.onnx.builder import Builder, Tensor


def detect(build: Builder, node: Detect) -> Tensor:
    """The rows (N, keep, 6, 1). Of equal scores an engine may take another box first than the file does."""
    sizes = [build.kinds[value].shape[1:] for value in node.inputs[::2]]
    default = default_boxes(node, sizes)
    boxes = _decoded(build, node, _by_box(build, "locations", node.inputs[::2], 4), default)
    logits = _by_box(build, "logits", node.inputs[1::2], node.classes)
    foreground = _sliced(build, build.op("Softmax", [logits], "softmax", axis=2), 1, node.classes, "foreground")
    scores = build.op("Transpose", [foreground], "scores", perm=[0, 2, 1])  # (N, labels, P)
    kept = _suppressed(build, node, boxes, scores, len(default))
    rows = _rows(build, node, boxes, kept, len(default))
    return Tensor(build.op("Unsqueeze", [rows, build.constant("axis", np.array([3], np.int64))]))


def _by_box(build: Builder, name: str, values: Sequence[int], numbers: int) -> str:
    """(N, A * numbers, H, W) of each map -> (N, P, numbers)"""
    parts = []
    for value in values:
        shape = build.kinds[value].shape
        x = build.map(build.values[value], shape[0]).name
        last = build.op("Transpose", [x], f"{name}_last", perm=[0, 2, 3, 1])
        wanted = build.constant(f"{name}_shape", np.array([0, prod(shape) // numbers, numbers], np.int64))
        parts.append(build.op("Reshape", [last, wanted], f"{name}_by_box"))
    return build.op("Concat", parts, name, axis=1)


def _decoded(build: Builder, node: Detect, located: str, default: np.ndarray) -> str:
    """(N, P, 4) of x1, y1, x2, y2."""
    extent = build.constant("extent", default[:, 2:])
    half = build.constant("half_extent", default[:, 2:] * np.float32(0.5))
    centre_variance, size_variance = (build.constant("variance", v) for v in node.variances)
    shift = build.op("Mul", [_sliced(build, located, 0, 2, "shift"), centre_variance], "varied_shift")
    shift = build.op("Mul", [shift, extent], "scaled_shift")
    centre = build.op("Add", [shift, build.constant("centre", default[:, :2])], "centre")
    size = build.op("Mul", [_sliced(build, located, 2, 4, "size"), size_variance], "varied_size")
    size = build.op("Min", [size, build.constant("largest_size", LARGEST_SIZE)], "limited_size")
    half = build.op("Mul", [build.op("Exp", [size], "growth"), half], "half")
    ends = [build.op(kind, [centre, half], name) for kind, name in (("Sub", "first"), ("Add", "last"))]
    corners = build.op("Concat", ends, "corners", axis=2)
    zero, one = (build.constant(name, np.float32(number)) for name, number in (("zero", 0), ("one", 1)))
    return build.op("Clip", [corners, zero, one], "boxes")


def _suppressed(build: Builder, node: Detect, boxes: str, scores: str, count: int) -> str:
    """The scores (N, labels, P) of the boxes that are kept; of all others 0."""
    zeros = build.op("ConstantOfShape", [build.op("Shape", [scores], "shape")], "zeros")
    candidates, most = scores, build.constant("candidates", np.array([min(node.candidates, count)], np.int64))
    if node.candidates < count:
        best, at = build.ops("TopK", [scores, most], ["best", "best_at"], axis=2)
        candidates = build.op("ScatterElements", [zeros, at, best], "taken", axis=2)
    thresholds = [
        build.constant(name, np.array([number], np.float32))
        for name, number in (("iou_threshold", node.iou_threshold), ("score_threshold", node.score_threshold))
    ]
    kept = build.op("NonMaxSuppression", [boxes, candidates, most, *thresholds], "kept")
    return build.op("ScatterND", [zeros, kept, build.op("GatherND", [candidates, kept], "kept_scores")], "kept_map")


def _rows(build: Builder, node: Detect, boxes: str, kept: str, count: int) -> str:
    """(N, keep, 6)"""
    numbers = len(node.labels) * count
    wanted = build.constant("all", np.array([0, numbers], np.int64))
    scores = build.op("Reshape", [kept, wanted], "all_scores")
    if numbers < node.keep:
        pads = build.constant("pads", np.array([0, 0, 0, node.keep - numbers], np.int64))
        scores = build.op("Pad", [scores, pads], "padded_scores")
    score, at = build.ops(
        "TopK", [scores, build.constant("keep", np.array([node.keep], np.int64))], ["score", "at"], axis=1
    )
    last, of_label = (
        build.constant("last", np.array([2], np.int64)),
        build.constant("boxes_of_a_label", np.int64(count)),
    )
    box = build.op("Unsqueeze", [build.op("Mod", [at, of_label], "box"), last], "box_index")
    label = build.op("Cast", [build.op("Div", [at, of_label], "label_at")], "label", to=TensorProto.FLOAT)
    score, label = (build.op("Unsqueeze", [x, last], "column") for x in (score, label))
    found = build.op("GatherND", [boxes, box], "found_boxes", batch_dims=1)
    rows = build.op("Concat", [found, score, label], "rows", axis=2)
    used = build.op("Greater", [score, build.constant("nothing", np.float32(0))], "used")
    unused = build.constant("unused", np.array([0, 0, 0, 0, 0, -1], np.float32))
    return build.op("Where", [used, rows, unused], "filled")


def _sliced(build: Builder, x: str, first: int, end: int, name: str) -> str:
    """Numbers [first, end) of the last of three axes."""
    bounds = [build.constant(part, np.array([at], np.int64)) for part, at in (("from", first), ("to", end), ("of", 2))]
    return build.op("Slice", [x, *bounds], name)
