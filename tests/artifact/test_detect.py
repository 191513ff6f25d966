"""The reference of `detect` and `normalize` against their formulas, written down again in float64, and by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphs
from netsuke.artifact import Error, Graph, Reference, decode, encode, infer
from netsuke.artifact.detect import default_boxes, detect
from netsuke.artifact.float32 import exp
from netsuke.artifact.graph import Detect, Gather, Identity, MaxPool, Normalize, Output, Store

UNUSED = [0, 0, 0, 0, 0, -1]


def of_one_map(**fields: Any) -> Detect:
    """A default box a pixel, 0.2 wide and 0.4 high, pixels 0.25 wide and 0.5 high; two labels."""
    fields = {"shapes": [np.array([[0.2, 0.4]], np.float32)], "steps": [np.array([0.25, 0.5], np.float32)], **fields}
    return graphs.detect(np.random.default_rng(0), [1], 2, **fields)


def rows(node: Detect, *maps: np.ndarray) -> np.ndarray:
    """(keep, 6) of one image."""
    return detect(node, [one[None].astype(np.float32) for one in maps])[0, :, :, 0]


def plain(node: Detect, maps: list[np.ndarray]) -> list[list[float]]:
    """The rows that are used, by loops over single boxes in float64. maps: (C, H, W)."""
    found = []
    for label in range(len(node.labels)):
        boxes = []
        for m, shapes in enumerate(node.shapes):
            locations, logits = maps[2 * m].astype(np.float64), maps[2 * m + 1].astype(np.float64)
            for y in range(locations.shape[1]):
                for x in range(locations.shape[2]):
                    for a, (w, h) in enumerate(shapes):
                        powers = [math.exp(v) for v in logits[a * node.classes : (a + 1) * node.classes, y, x]]
                        dx, dy, dw, dh = locations[4 * a : 4 * a + 4, y, x]
                        cx = (x + 0.5) * node.steps[m][0] + dx * node.variances[0] * w
                        cy = (y + 0.5) * node.steps[m][1] + dy * node.variances[0] * h
                        w2, h2 = w * math.exp(dw * node.variances[1]) / 2, h * math.exp(dh * node.variances[1]) / 2
                        corners = [min(max(v, 0), 1) for v in (cx - w2, cy - h2, cx + w2, cy + h2)]
                        boxes.append((powers[label + 1] / sum(powers), *corners))
        boxes = sorted((box for box in boxes if box[0] > node.score_threshold), reverse=True)[: node.candidates]
        kept: list[Any] = []
        for box in boxes:
            if not any(_overlap(box[1:], other[1:]) > node.iou_threshold for other in kept):
                kept.append(box)
        found += [[*corners, score, label] for score, *corners in kept]
    return sorted(found, key=lambda row: -row[4])[: node.keep]


def _overlap(a: Any, b: Any) -> float:
    width, height = (max(0.0, min(a[2 + i], b[2 + i]) - max(a[i], b[i])) for i in (0, 1))
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@pytest.mark.parametrize("seed", range(6))
def test_rows_are_those_of_the_formulas(seed: int) -> None:
    rng = np.random.default_rng(seed)
    node = graphs.detect(rng, [3, 2], 4, candidates=15 + seed, keep=25)
    maps = [
        rng.normal(size=(channels, *size))
        for size, count in (((4, 5), 3), ((2, 2), 2))
        for channels in (4 * count, 5 * count)
    ]
    found = rows(node, *maps)
    with np.errstate(invalid="ignore"):  # of boxes outside the image
        expected = plain(node, maps)
    assert len(expected) == node.keep
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_a_default_box_where_it_stands() -> None:
    """A location of 0 is the default box; ln(1000 / 16) is the largest size; what lies outside the image is cut off."""
    locations, logits = np.zeros((4, 2, 3)), np.full((3, 2, 3), -20.0)
    logits[0] = 0
    logits[:, 1, 2] = [0, 1, -20]
    found = rows(of_one_map(), locations, logits)
    score = math.exp(1) / (1 + math.exp(1))
    np.testing.assert_allclose(found[0], [0.525, 0.55, 0.725, 0.95, score, 0], atol=1e-6)
    assert (found[1:] == UNUSED).all()
    locations[2] = 1e9
    found = rows(of_one_map(), locations, logits)
    np.testing.assert_allclose(found[0], [0, 0.55, 1, 0.95, score, 0], atol=1e-6)
    locations[2:] = -3.0
    found = rows(of_one_map(variances=np.array([0.1, 1], np.float32)), locations, logits)
    half = math.exp(-3) * np.array([0.1, 0.2])
    np.testing.assert_allclose(found[0, :4], [*(0.625, 0.75) - half, *(0.625, 0.75) + half], atol=1e-6)


def test_default_boxes_by_map_row_column_and_shape() -> None:
    node = graphs.detect(np.random.default_rng(0), [2, 1], 1)
    boxes = default_boxes(node, [(2, 3), (1, 2)])
    assert boxes.shape == (2 * 3 * 2 + 2, 4)
    for at, (m, y, x, a) in {
        0: (0, 0, 0, 0),
        1: (0, 0, 0, 1),
        2: (0, 0, 1, 0),
        7: (0, 1, 0, 1),
        13: (1, 0, 1, 0),
    }.items():
        centre = np.array([x + 0.5, y + 0.5], np.float32) * node.steps[m]
        assert boxes[at].tolist() == [*centre.tolist(), *node.shapes[m][a].tolist()]


def test_ties() -> None:
    """Of equal scores the lower class, then the lower box; equal boxes of different classes do not suppress."""
    locations, logits = np.zeros((4, 1, 3)), np.zeros((3, 1, 3))
    found = rows(of_one_map(score_threshold=0.3, keep=4), locations, logits)
    assert found[:, 5].tolist() == [0, 0, 0, 1]
    assert (np.diff(found[:3, 0]) > 0).all()
    assert found[3, :4].tolist() == found[0, :4].tolist()
    first = found[0, :4].tolist()
    locations[0, 0, 1] = -0.25 / (0.1 * 0.2)  # the second box lies on the first
    found = rows(of_one_map(score_threshold=0.3, keep=6), locations, logits)
    assert found[:, 5].tolist() == [0, 0, 1, 1, -1, -1]
    assert found[0, :4].tolist() == found[2, :4].tolist() == first


def test_the_threshold_itself_is_not_above_it() -> None:
    """A score at its threshold is none, an overlap at its threshold is none."""
    locations, logits = np.zeros((4, 1, 1)), np.zeros((2, 1, 1))
    for threshold, count in ((0.5, 0), (np.nextafter(np.float32(0.5), np.float32(0)), 1)):
        node = graphs.detect(np.random.default_rng(0), [1], 1, score_threshold=float(threshold))
        assert (rows(node, locations, logits)[:, 5] == 0).sum() == count
    halves = {"shapes": [np.array([[0.5, 0.5], [0.5, 0.25]], np.float32)], "steps": [np.array([1, 1], np.float32)]}
    for threshold, count in ((0.5, 2), (np.nextafter(np.float32(0.5), np.float32(0)), 1)):
        node = graphs.detect(np.random.default_rng(0), [2], 1, iou_threshold=float(threshold), **halves)
        assert (rows(node, np.zeros((8, 1, 1)), np.zeros((4, 1, 1)))[:, 5] == 0).sum() == count


def test_candidates_come_before_suppression_and_rows_behind_it() -> None:
    locations, logits = np.zeros((4, 1, 4)), np.zeros((3, 1, 4))
    logits[1] = [4, 3, 2, 1]
    logits[2] = -50
    locations[0] = np.arange(4) * -12.5  # all on the first pixel
    assert (rows(of_one_map(), locations, logits)[:, 5] == 0).sum() == 1
    locations[0, 0, 3] = 0
    assert (rows(of_one_map(), locations, logits)[:, 5] == 0).sum() == 2
    assert (rows(of_one_map(candidates=3), locations, logits)[:, 5] == 0).sum() == 1
    assert rows(of_one_map(keep=1), locations, logits).shape == (1, 6)


@pytest.mark.parametrize(("what", "count"), [(np.nan, 2), (np.inf, 2), (-np.inf, 3)])
def test_numbers_that_are_not_finite(what: float, count: int) -> None:
    """A logit of NaN or infinity leaves its box without scores; of minus infinity it is a class that is not there."""
    locations, logits = np.zeros((4, 1, 3)), np.zeros((3, 1, 3))
    logits[1], logits[2] = 2, -50
    logits[2, 0, 1] = what
    assert (rows(of_one_map(), locations, logits)[:, 5] == 0).sum() == count
    logits[2, 0, 1] = 0
    locations[3, 0, 1] = np.nan
    assert (rows(of_one_map(), locations, logits)[:, 5] == 0).sum() == 2


def test_exp_is_that_of_the_true_one() -> None:
    x = np.linspace(-86, 86, 10_001, dtype=np.float32)
    np.testing.assert_allclose(exp(x), np.exp(x.astype(np.float64)), rtol=3e-7)
    assert np.array_equal(exp(np.float32([-np.inf, np.inf])), exp(np.float32([-87, 87])))
    assert np.isnan(exp(np.float32([np.nan]))).all()


def test_pixels_become_unit_vectors() -> None:
    x = graphs.floats(np.random.default_rng(0), "normal", 2, 9, 3, 4)
    node = Normalize("unit", [0], [Store(1)], eps=1e-10)
    y = Reference(graphs.float_graph((9, 3, 4), node))(x)
    np.testing.assert_allclose(y, x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True), rtol=1e-6)
    node.eps = 5.0
    y = Reference(graphs.float_graph((9, 3, 4), node))(x)
    np.testing.assert_allclose(y, x / np.sqrt(5 + (x.astype(np.float64) ** 2).sum(1, keepdims=True)), rtol=1e-6)


# ----------------------------------------------------------------------------------------------- what is refused
def small() -> Graph:
    nodes = [
        MaxPool("pool", [0], [Store(1)], kernel=(2, 2), stride=(1, 1)),
        Gather("locations", [1], [Store(2)], pieces=[(8, 0)]),
        Gather("logits", [1], [Store(3)], pieces=[(6, 2)]),
        graphs.detect(np.random.default_rng(0), [2], 2, inputs=[2, 3], epilogue=[Store(4)]),
        Normalize("unit", [0], [Store(5)], eps=1e-10),
    ]
    return Graph("small", (8, 4, 5), nodes, [Output(4, 3), Output(5, 4)])


def test_a_file_of_it() -> None:
    graph = small()
    graph.nodes[3].labels = ["aeroplane", "dining table"]
    read = decode(encode(graph))
    assert read.nodes[3].labels == ["aeroplane", "dining table"]
    assert [output.rank for output in read.outputs] == [3, 4]
    images = graphs.images(np.random.default_rng(0), "normal", 2, (8, 4, 5))
    graphs.assert_same_bits(Reference(read)(images), Reference(graph)(images))
    assert Reference(read)(images)[0].shape == (2, 20, 6)
    assert Reference(read)(images[:0])[0].shape == (0, 20, 6)


CHANGES: dict[str, tuple[str, Callable[[Detect], Any]]] = {
    "no labels": ("labels", lambda n: n.labels.clear()),
    "4,097 labels": ("labels", lambda n: setattr(n, "labels", ["x"] * 4097)),
    "a label of no characters": ("a label", lambda n: n.labels.__setitem__(0, "")),
    "a label that is a number": ("a label", lambda n: n.labels.__setitem__(0, 3)),
    "shapes of one map more": ("two lists", lambda n: n.shapes.append(n.shapes[0])),
    "no maps": ("two lists", lambda n: (n.shapes.clear(), n.steps.clear())),
    "an input too few": ("two inputs for each", lambda n: n.inputs.pop()),
    "shapes of float64": ("float32", lambda n: n.shapes.__setitem__(0, n.shapes[0].astype(np.float64))),
    "shapes of no box": ("shape", lambda n: n.shapes.__setitem__(0, n.shapes[0][:0])),
    "a width of 0": ("above 0", lambda n: n.shapes[0].__setitem__((0, 0), 0)),
    "a step below 0": ("above 0", lambda n: n.steps[0].__setitem__(0, -0.1)),
    "a variance of 0": ("above 0", lambda n: n.variances.__setitem__(1, 0)),
    "a variance of NaN": ("not finite", lambda n: n.variances.__setitem__(1, np.nan)),
    "one box too few": ("map 0 of 1 boxes", lambda n: n.shapes.__setitem__(0, n.shapes[0][:1])),
    "a class too many": ("map 0 of 2 boxes and 4 classes", lambda n: n.labels.append("c")),
    "maps of another size": ("of one height and width", lambda n: n.inputs.__setitem__(1, 0)),
    "a score_threshold above 1": ("score_threshold", lambda n: setattr(n, "score_threshold", 1.5)),
    "an iou_threshold below 0": ("iou_threshold", lambda n: setattr(n, "iou_threshold", -0.1)),
    "an iou_threshold of NaN": ("iou_threshold", lambda n: setattr(n, "iou_threshold", math.nan)),
    "no candidates": ("candidates", lambda n: setattr(n, "candidates", 0)),
    "no rows": ("keep", lambda n: setattr(n, "keep", 0)),
    "too many rows": ("keep", lambda n: setattr(n, "keep", 65537)),
    "rows of a fraction": ("keep", lambda n: setattr(n, "keep", 2.0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_refused(change: str) -> None:
    words, apply = CHANGES[change]
    graph = copy.deepcopy(small())
    apply(graph.nodes[3])
    for function in (infer, encode, Reference):
        with pytest.raises(Error, match=words) as caught:
            function(graph)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("eps", "words"), [(0.0, "above 0"), (-1.0, "above 0"), (math.inf, "finite"), ("1", "a number")]
)
def test_refused_eps(eps: Any, words: str) -> None:
    graph = small()
    graph.nodes[4].eps = eps
    with pytest.raises(Error, match=words):
        infer(graph)


def test_too_much_for_one_image() -> None:
    """More boxes, more numbers, more work than a file may ask for."""

    def of(labels: int, boxes: int, candidates: int) -> Graph:
        nodes = [
            Gather("locations", [0], [Store(1)], pieces=[(1, 0)] * (4 * boxes)),
            Gather("logits", [0], [Store(2)], pieces=[(1, 0)] * ((labels + 1) * boxes)),
            graphs.detect(np.random.default_rng(0), [boxes], labels, candidates=candidates, epilogue=[Store(3)]),
        ]
        return Graph("large", (1, 512, 512), nodes, [Output(3, 3), Output(2, 4), Output(2, 4)])

    infer(of(3, 1, 1 << 20))
    for graph, words in (
        (of(1, 5, 400), "default boxes"),
        (of(62, 1, 400), "values and outputs together"),
        (of(5, 1, 1 << 20), "multiply-accumulates"),
    ):
        with pytest.raises(Error, match=words):
            infer(graph)


def test_a_rank_of_3_needs_a_width_of_1() -> None:
    graph = graphs.float_graph((3, 4, 1), Identity("copy", [0], [Store(1)]))
    graph.outputs = [Output(1, 3)]
    x = graphs.images(np.random.default_rng(0), "normal", 2, (3, 4, 1))
    assert np.array_equal(Reference(decode(encode(graph)))(x), x[..., 0])
    graph.input_shape = (3, 4, 2)
    with pytest.raises(Error, match="a width of 1"):
        infer(graph)
