"""Mean average precision: by hand, and against pycocotools where the two rules agree."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence

import numpy as np
import pytest

from netsuke.artifact.contract import Error
from netsuke.data import Annotation, Detections, average_precision, detections

A, B, C = (0.0, 0.0, 0.2, 0.2), (0.4, 0.4, 0.6, 0.6), (0.7, 0.1, 0.9, 0.4)


def found(*rows: tuple[Sequence[float], float, int]) -> Detections:
    """(box, score, label) each."""
    return Detections(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float32),
    )


def objects(*rows: tuple[Sequence[float], int, bool]) -> Annotation:
    """(box, label, difficult) each."""
    return Annotation(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], bool),
    )


def both(seen: list[Detections], truths: list[Annotation], classes: str = "x") -> tuple[float, float]:
    """By 11 points and by all points."""
    elevens, alls = (average_precision(seen, truths, classes, how) for how in ("11-point", "all-point"))
    return elevens.map, alls.map


def test_two_of_three_with_a_false_one_between() -> None:
    """Recalls 1/3, 1/3, 2/3 with precisions 1, 1/2, 2/3: p is 1 up to 1/3, 2/3 up to 2/3, then 0."""
    truths = [objects((A, 0, False), (B, 0, False)), objects((C, 0, False))]
    seen = [found((A, 0.9, 0), (B, 0.7, 0)), found((A, 0.8, 0))]
    eleven, area = both(seen, truths)
    assert eleven == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)  # 0 to 0.3, and 0.4 to 0.6
    assert area == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)


def test_all_found_is_one_and_nothing_found_is_zero() -> None:
    truths = [objects((A, 0, False), (B, 0, False))]
    assert both([found((B, 0.3, 0), (A, 0.2, 0))], truths) == (1, 1)
    assert both([found()], truths) == (0, 0)
    assert both([found((C, 0.9, 0))], truths) == (0, 0)


def test_recalls_on_a_point_count_as_reaching_it() -> None:
    """3 of 10 found: recall is 0.3, though 3 / 10 < 3 * 0.1 in floating point."""
    boxes = [(0.1 * i, 0.0, 0.1 * i + 0.05, 0.05) for i in range(10)]
    truths = [objects(*((box, 0, False) for box in boxes))]
    assert both([found(*((box, 0.5, 0) for box in boxes[:3]))], truths) == pytest.approx((4 / 11, 0.3))


def test_a_second_detection_of_an_object_is_a_false_one() -> None:
    truths = [objects((A, 0, False), (B, 0, False))]
    near = (0.0, 0.0, 0.2, 0.19)
    seen = [found((near, 0.9, 0), (A, 0.8, 0), (B, 0.7, 0))]
    assert both(seen, truths) == pytest.approx(((6 + 5 * 2 / 3) / 11, (1 + 2 / 3) / 2))


def test_the_largest_overlap_decides_even_if_that_object_is_taken() -> None:
    """VOC's rule. COCO's would give the second detection to the other object, which it overlaps by over half too."""
    first, second = (0.0, 0.0, 0.4, 0.2), (0.0, 0.04, 0.4, 0.24)
    truths = [objects((first, 0, False), (second, 0, False))]
    seen = [found((first, 0.9, 0), ((0.0, 0.01, 0.4, 0.21), 0.8, 0))]
    assert both(seen, truths) == pytest.approx((6 / 11, 0.5))


def test_what_finds_a_difficult_object_is_not_counted() -> None:
    truths = [objects((A, 0, False), (B, 0, True))]
    plain = both([found((A, 0.5, 0), (C, 0.6, 0))], truths)
    assert plain == (0.5, 0.5)  # a false one first; the difficult object is not missed
    assert both([found((A, 0.5, 0), (C, 0.6, 0), (B, 0.9, 0), (B, 0.8, 0))], truths) == plain


def test_a_difficult_object_draws_detections_from_others() -> None:
    """The detection overlaps both by over half, the difficult one more: it is not counted, and the other is missed."""
    easy, hard = (0.0, 0.04, 0.4, 0.24), (0.0, 0.0, 0.4, 0.2)
    truths = [objects((easy, 0, False), (hard, 0, True))]
    assert both([found(((0.0, 0.01, 0.4, 0.21), 0.9, 0))], truths) == (0, 0)


def test_a_class_without_objects_that_count_is_left_out_of_the_mean() -> None:
    truths = [objects((A, 0, False), (B, 1, True))]
    result = average_precision([found((A, 0.5, 0), (C, 0.9, 1), (C, 0.9, 2))], truths, ("a", "b", "c"))
    assert (result.classes, result.map) == (("a", "b", "c"), 1)
    assert result.of_class[0] == 1
    assert all(map(math.isnan, result.of_class[1:]))


def test_classes_are_matched_apart() -> None:
    truths = [objects((A, 0, False), (A, 1, False))]
    result = average_precision([found((A, 0.9, 1), (B, 0.8, 0), (A, 0.7, 0))], truths, "ab")
    assert result.of_class.tolist() == [0.5, 1]


def test_equal_scores_keep_the_order_of_images_and_rows() -> None:
    truths = [objects((A, 0, False)), objects((A, 0, False))]
    assert both([found((A, 0.5, 0), (B, 0.5, 0)), found((A, 0.5, 0))], truths)[1] == pytest.approx((1 + 2 / 3) / 2)
    assert both([found((B, 0.5, 0), (A, 0.5, 0)), found((A, 0.5, 0))], truths)[1] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("threshold", "expected"), [(0.49, 1), (0.5, 1), (0.51, 0)])
def test_the_threshold_is_reached_by_an_equal_overlap(threshold: float, expected: float) -> None:
    truths = [objects(((0.0, 0.0, 1.0, 1.0), 0, False))]
    seen = [found(((0.0, 0.0, 0.5, 1.0), 0.9, 0))]
    assert average_precision(seen, truths, "x", iou_threshold=threshold).map == expected


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (([found()], [], "x"), "of 1 images, but annotations of 0"),
        (([], [], "x"), "no images"),
        (([found((A, 0.5, 1))], [objects((A, 0, False))], "x"), "detections have labels 1 to 1, but there are 1"),
        (([found()], [objects((A, 2, False))], "ab"), "annotations have labels 2 to 2"),
        (([found((A, math.nan, 0))], [objects((A, 0, False))], "x"), "not finite"),
        (([found((A, 0.5, 0))], [objects((A, 0, True))], "x"), "no object that counts"),
        (([found()], [objects((A, 0, False))], "x", "101-point"), "11-point, all-point"),
        (([found()], [objects((A, 0, False))], "x", "11-point", 0.0), "iou_threshold"),
    ],
)
def test_what_has_no_average_precision_is_refused(arguments: tuple, pattern: str) -> None:
    with pytest.raises(Error, match=pattern):
        average_precision(*arguments)


def test_rows_of_a_detector_become_detections() -> None:
    rows = np.array([[0.1, 0.2, 0.5, 1, 0.9, 2], [0, 0, 1, 1, 0.5, 0], [0, 0, 0, 0, 0, -1]], np.float32)
    boxes, labels, scores = detections(rows, width=200, height=100)
    np.testing.assert_allclose(boxes, [[20, 20, 100, 100], [0, 0, 200, 100]], rtol=1e-6)
    assert (labels.tolist(), scores.tolist()) == ([2, 0], [np.float32(0.9), 0.5])
    assert (boxes.dtype, labels.dtype, scores.dtype) == (np.float32, np.int64, np.float32)
    assert [part.shape for part in detections(rows[2:])] == [(0, 4), (0,), (0,)]
    with pytest.raises(Error, match="keep, 6"):
        detections(rows[None])


def random_set(seed: int, images: int, classes: int) -> tuple[list[Detections], list[Annotation]]:
    """Objects that do not overlap, in a grid of 5 x 5, and detections near them and elsewhere.

    A detection reaches an IoU of one half with one object at most, so that VOC's rule and COCO's agree; no object is
    difficult, which COCO knows in another form.
    """
    random = np.random.default_rng(seed)
    seen, truths = [], []
    for _ in range(images):
        cells = np.stack(np.divmod(random.permutation(25)[: random.integers(0, 9)], 5), 1) / 5
        low = cells + random.uniform(0.0, 0.03, cells.shape)
        boxes = np.concatenate([low, low + random.uniform(0.1, 0.16, cells.shape)], 1)
        labels = random.integers(0, classes, len(boxes))
        truths.append(Annotation(boxes.astype(np.float32), labels, np.zeros(len(boxes), bool)))
        again = np.repeat(np.arange(len(boxes)), random.integers(0, 4, len(boxes)))
        near = boxes[again] + random.normal(0, 0.015, (len(again), 4))
        label = np.where(random.random(len(again)) < 0.8, labels[again], random.integers(0, classes, len(again)))
        corner = random.uniform(0, 0.8, (random.integers(0, 6), 2))
        away = np.concatenate([corner, corner + random.uniform(0.05, 0.2, corner.shape)], 1)
        all_boxes = np.concatenate([near, away]).astype(np.float32)
        label = np.concatenate([label, random.integers(0, classes, len(away))])
        scores = random.permutation(len(all_boxes)) / 40 + random.random(len(all_boxes)) / 40
        seen.append(Detections(all_boxes, label, scores.astype(np.float32)))
    return seen, truths


def by_coco(seen: list[Detections], truths: list[Annotation], classes: int, recalls: np.ndarray) -> np.ndarray:
    """Average precision of each class by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def corner_and_sides(box: np.ndarray) -> list[float]:
        return [*box[:2].tolist(), *(box[2:].astype(float) - box[:2].astype(float)).tolist()]

    annotations, results = [], []
    for image, (detection, truth) in enumerate(zip(seen, truths, strict=True), 1):
        for box, label in zip(truth.boxes, truth.labels.tolist(), strict=True):
            place = {"id": len(annotations) + 1, "image_id": image, "category_id": label + 1, "iscrowd": 0}
            annotations.append({**place, "bbox": corner_and_sides(box), "area": 1.0})
        for box, label, score in zip(*detection, strict=True):
            place = {"image_id": image, "category_id": int(label) + 1, "score": float(score)}
            results.append({**place, "bbox": corner_and_sides(box)})
    with contextlib.redirect_stdout(io.StringIO()):
        truth_set = COCO()
        truth_set.dataset = {
            "info": {},
            "images": [{"id": i + 1, "width": 1, "height": 1} for i in range(len(seen))],
            "categories": [{"id": c + 1, "name": str(c)} for c in range(classes)],
            "annotations": annotations,
        }
        truth_set.createIndex()
        evaluation = COCOeval(truth_set, truth_set.loadRes(results), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.recThrs = recalls
        evaluation.params.maxDets = [10_000]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][0, :, :, 0, 0].mean(axis=0)


@pytest.mark.parametrize("seed", range(6))
def test_eleven_points_are_those_of_pycocotools(seed: int) -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    classes = 3
    seen, truths = random_set(seed, images=25, classes=classes)
    ours = average_precision(seen, truths, "abc").of_class
    counts = np.bincount(np.concatenate([truth.labels for truth in truths]))
    points = np.arange(11) / 10  # as recalls round, so that one on a point is seen to reach it
    theirs = by_coco(seen, truths, classes, points)
    assert ours.min() > 0.1  # there is something to be wrong about
    assert ours.max() < 0.95
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    plain = by_coco(seen, truths, classes, np.linspace(0, 1, 11))
    off_points = counts % 10 != 0
    np.testing.assert_allclose(ours[off_points], plain[off_points], rtol=1e-12)
    assert off_points.any()


def test_all_points_are_the_limit_of_pycocotools() -> None:
    """The mean of p at the middles of 2520 equal parts of recall is its area, where 2520 is n times every count."""
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    seen, truths = random_set(11, images=6, classes=4)
    counts = np.bincount(np.concatenate([truth.labels for truth in truths]), minlength=4)
    assert all(2520 % count == 0 for count in counts), counts
    ours = average_precision(seen, truths, "abcd", "all-point").of_class
    np.testing.assert_allclose(ours, by_coco(seen, truths, 4, (np.arange(2520) + 0.5) / 2520), rtol=1e-12)


def test_pycocotools_gives_a_taken_object_up_where_voc_does_not() -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    first, second = (0.0, 0.0, 0.4, 0.2), (0.0, 0.04, 0.4, 0.24)
    truths = [objects((first, 0, False), (second, 0, False))]
    seen = [found((first, 0.9, 0), ((0.0, 0.01, 0.4, 0.21), 0.8, 0))]
    assert by_coco(seen, truths, 1, np.arange(11) / 10).tolist() == [1.0]
    assert average_precision(seen, truths, "x").map == pytest.approx(6 / 11)
