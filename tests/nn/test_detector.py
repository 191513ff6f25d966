"""The end of a detector against loops over single boxes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from netsuke import Error
from netsuke.nn import Detector, L2Norm
from netsuke.nn.boxes import decode, default_boxes, overlaps

SHAPES = [[(0.3, 0.3), (0.5, 0.25)], [(0.8, 0.8)]]
STEPS = [1 / 3, 1.0]
SIZES = [(3, 3), (1, 1)]
PLACES = 3 * 3 * 2 + 1


def detector(**values: Any) -> Detector:
    return Detector(["cat", "dog"], SHAPES, STEPS, **values)


def maps(images: int, seed: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    made = []
    for (height, width), own in zip(SIZES, SHAPES, strict=True):
        made.append(torch.randn(images, 4 * len(own), height, width, generator=random))
        made.append(torch.randn(images, 3 * len(own), height, width, generator=random))
    return made


def expected_rows(given: list[Tensor], image: int, settings: Detector) -> list[list[float]]:
    """Step by step: softmax, threshold, the best of each label, greedy suppression, the best of all."""
    offsets, logits = [], []
    for location, confidence in zip(given[::2], given[1::2], strict=True):
        for y in range(location.shape[2]):
            for x in range(location.shape[3]):
                for a in range(location.shape[1] // 4):
                    offsets.append(location[image, 4 * a : 4 * a + 4, y, x])
                    logits.append(confidence[image, 3 * a : 3 * a + 3, y, x].tolist())
    boxes = decode(torch.stack(offsets), default_boxes(SIZES, SHAPES, STEPS), (0.1, 0.2))
    rows = []
    for label in range(2):
        scored = []
        for place, own in enumerate(logits):
            score = math.exp(own[label + 1]) / sum(math.exp(v) for v in own)
            if score > settings.score_threshold:
                scored.append((-score, place))
        stay: list[int] = []
        for score, place in sorted(scored)[: settings.candidates]:
            if all(float(overlaps(boxes[place, None], boxes[p, None])) <= settings.iou_threshold for p in stay):
                stay.append(place)
                rows.append([*boxes[place].tolist(), -score, float(label)])
    rows.sort(key=lambda row: -row[4])
    rows = rows[: settings.keep]
    return rows + [[0.0, 0.0, 0.0, 0.0, 0.0, -1.0]] * (settings.keep - len(rows))


@pytest.mark.parametrize(
    "values",
    [{}, {"score_threshold": 0.4}, {"iou_threshold": 0.1}, {"candidates": 3, "keep": 4}, {"score_threshold": 0.99}],
)
def test_rows_are_those_of_the_definition(values: dict[str, Any]) -> None:
    own = detector(**{"keep": 12, **values}).eval()
    given = maps(3, 0)
    rows = own(given)
    assert rows.shape == (3, own.keep, 6)
    for image in range(3):
        assert torch.allclose(rows[image], torch.tensor(expected_rows(given, image, own)), rtol=0, atol=1e-6)


def test_in_training_it_returns_all_default_boxes() -> None:
    own, given = detector(), maps(2, 1)
    offsets, logits = own(given)
    assert offsets.shape == (2, PLACES, 4)
    assert logits.shape == (2, PLACES, 3)
    # Row 1, column 2, second shape of the first map.
    assert torch.equal(offsets[1, (1 * 3 + 2) * 2 + 1], given[0][1, 4:8, 1, 2])
    assert torch.equal(logits[1, (1 * 3 + 2) * 2 + 1], given[1][1, 3:6, 1, 2])
    assert torch.equal(own.last_defaults, default_boxes(SIZES, SHAPES, STEPS))


def test_equal_scores_rank_by_label_and_default_box() -> None:
    own = detector(iou_threshold=1.0, keep=100).eval()
    rows = own([torch.zeros_like(m) for m in maps(1, 0)])[0]
    assert rows[: 2 * PLACES, 5].tolist() == [0.0] * PLACES + [1.0] * PLACES
    assert torch.equal(rows[:PLACES, :4], rows[PLACES : 2 * PLACES, :4])


@pytest.mark.parametrize("labels", [[], ["cat", "cat"], ["cat", ""], [1, 2]])
def test_labels_are_names(labels: Any) -> None:
    with pytest.raises(Error, match="labels"):
        Detector(labels, SHAPES, STEPS)


@pytest.mark.parametrize("values", [{"score_threshold": 1.0}, {"iou_threshold": -0.1}, {"candidates": 0}, {"keep": 0}])
def test_settings_have_ranges(values: dict[str, Any]) -> None:
    with pytest.raises(Error, match="thresholds"):
        detector(**values)


def test_shapes_and_steps_are_given_for_each_map() -> None:
    with pytest.raises(Error, match="each source map"):
        Detector(["cat"], SHAPES, STEPS[:1])


def test_l2_norm_gives_each_pixel_the_learned_length() -> None:
    layer = L2Norm(5)
    x = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = layer(x)
    assert torch.allclose(y.square().sum(1).sqrt(), torch.tensor(20.0, dtype=torch.float64))
    assert torch.allclose(y[1, 2, 0, 3], 20 * x[1, 2, 0, 3] / x[1, :, 0, 3].square().sum().sqrt())
    assert torch.equal(layer(torch.zeros(1, 5, 1, 1)), torch.zeros(1, 5, 1, 1))
