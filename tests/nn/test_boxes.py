"""Boxes against loops over single numbers."""

from __future__ import annotations

import math

import pytest
import torch

from netsuke.nn.boxes import corners, decode, default_boxes, encode, overlaps, suppress

VARIANCES = (0.1, 0.2)


def random_boxes(count: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    start = torch.rand(count, 2, generator=random, dtype=torch.float64) * 0.7
    return torch.cat([start, start + 0.05 + torch.rand(count, 2, generator=random, dtype=torch.float64) * 0.25], 1)


def overlap(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inner = max(width, 0) * max(height, 0)
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


def test_default_boxes_are_ordered_by_map_row_column_and_shape() -> None:
    shapes = [[(0.1, 0.2), (0.3, 0.4)], [(0.5, 0.5)]]
    expected = [
        [(x + 0.5) * step, (y + 0.5) * step, *shape]
        for (height, width), own, step in zip([(2, 3), (1, 1)], shapes, [0.25, 1.0], strict=True)
        for y in range(height)
        for x in range(width)
        for shape in own
    ]
    assert torch.equal(default_boxes([(2, 3), (1, 1)], shapes, [0.25, 1.0]), torch.tensor(expected))


def test_overlaps_are_intersection_over_union() -> None:
    a, b = random_boxes(7, 0), random_boxes(5, 1)
    expected = torch.tensor([[overlap(x, y) for y in b.tolist()] for x in a.tolist()], dtype=torch.float64)
    assert torch.allclose(overlaps(a, b), expected, rtol=0, atol=1e-12)
    assert (expected > 0).any()


def test_encode_is_the_papers_equation_2_and_decode_its_inverse() -> None:
    boxes, places = random_boxes(9, 2), random_boxes(9, 3)
    defaults = torch.cat([(places[:, :2] + places[:, 2:]) / 2, places[:, 2:] - places[:, :2]], 1)
    assert torch.allclose(corners(defaults), places)
    offsets = encode(boxes, defaults, VARIANCES)
    for (x1, y1, x2, y2), (cx, cy, w, h), own in zip(boxes.tolist(), defaults.tolist(), offsets.tolist(), strict=True):
        expected = [
            ((x1 + x2) / 2 - cx) / w / 0.1, ((y1 + y2) / 2 - cy) / h / 0.1, math.log((x2 - x1) / w) / 0.2,
            math.log((y2 - y1) / h) / 0.2,
        ]  # fmt: skip
        assert own == pytest.approx(expected)
    assert torch.allclose(decode(offsets, defaults, VARIANCES), boxes, rtol=0, atol=1e-12)


def test_decoded_boxes_are_finite_and_inside_the_image() -> None:
    defaults = torch.tensor([[0.5, 0.5, 0.01, 0.01]])
    made = decode(torch.tensor([[0.0, 0.0, 1e6, -1e6]]), defaults, VARIANCES)
    assert made.tolist()[0] == pytest.approx([0.5 - 0.005 * 1000 / 16, 0.5, 0.5 + 0.005 * 1000 / 16, 0.5])
    outside = decode(torch.tensor([[-999.0, 999.0, 0.0, 0.0]]), defaults, VARIANCES)
    assert outside.tolist() == [[0.0, 1.0, 0.0, 1.0]]


def test_suppression_is_greedy() -> None:
    lists = torch.stack([random_boxes(60, 4), random_boxes(60, 5)])
    alive = torch.arange(60).expand(2, 60) != 3
    for boxes, stays in zip(lists.tolist(), suppress(lists, alive, 0.3).tolist(), strict=True):
        stay: list[list[float]] = []
        expected = []
        for i, box in enumerate(boxes):
            expected.append(i != 3 and all(overlap(box, other) <= 0.3 for other in stay))
            stay += [box] if expected[-1] else []
        assert stays == expected
        assert 1 < sum(expected) < 59
    # The second goes; so it takes nothing away, and the third stays.
    chain = torch.tensor([[0.0, 0, 0.4, 1], [0.15, 0, 0.55, 1], [0.3, 0, 0.7, 1]])
    assert suppress(chain, torch.ones(3, dtype=torch.bool), 0.3).tolist() == [True, False, True]
    assert suppress(chain[:0], torch.ones(0, dtype=torch.bool), 0.3).tolist() == []
