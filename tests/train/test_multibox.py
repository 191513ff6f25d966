"""SSD's objective against loops over single default boxes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from netsuke.nn import Detector
from netsuke.nn.boxes import corners, encode, overlaps
from netsuke.train.multibox import MultiBox, match

SHAPES = [[(0.15, 0.15), (0.3, 0.15), (0.15, 0.3)], [(0.4, 0.4), (0.7, 0.7)]]
SIZES = [(6, 6), (2, 2)]
NONE = [0.0, 0.0, 0.0, 0.0, -1.0, 0.0]


def made() -> Detector:
    own = Detector(["cat", "dog"], SHAPES, [1 / 6, 1 / 2])
    own([torch.zeros(1, n * len(s), *size) for s, size in zip(SHAPES, SIZES, strict=True) for n in (4, 3)])
    return own


def objects(images: int, counts: list[int]) -> Tensor:
    random = torch.Generator().manual_seed(0)
    rows = torch.tensor(NONE).repeat(images, max(counts), 1)
    for image, count in enumerate(counts):
        start = torch.rand(count, 2, generator=random) * 0.5
        sides = 0.1 + torch.rand(count, 2, generator=random) * 0.4
        labels = torch.randint(0, 2, (count, 1), generator=random)
        rows[image, :count] = torch.cat([start, start + sides, labels, torch.zeros(count, 1)], 1)
    return rows


def expected_match(defaults: Tensor, boxes: Tensor) -> list[int]:
    """Equal overlaps, as of all default boxes that lie inside one object, go by object and default box."""
    shared = overlaps(boxes, corners(defaults)).T.tolist()
    wanted = [max(range(len(boxes)), key=lambda o: row[o]) if max(row) > 0.5 else -1 for row in shared]
    pairs = [(-row[o], o, p) for p, row in enumerate(shared) for o in range(len(boxes)) if row[o] > 0]
    while pairs:
        _, o, p = min(pairs)
        wanted[p] = o
        pairs = [pair for pair in pairs if pair[1] != o and pair[2] != p]
    return wanted


def test_match_gives_each_object_a_default_box() -> None:
    own, rows = made(), objects(3, [4, 1, 7])
    found = match(corners(own.last_defaults), rows[..., :4], rows[..., 4] >= 0)
    for image, count in enumerate([4, 1, 7]):
        assert found[image].tolist() == expected_match(own.last_defaults, rows[image, :count, :4])
        assert set(range(count)) <= set(found[image].tolist())


def test_of_two_objects_that_want_one_default_box_the_nearer_has_it() -> None:
    defaults = torch.tensor([[0.2, 0.2, 0.4, 0.4], [0.3, 0.3, 0.9, 0.9]])
    boxes = torch.tensor([[[0.2, 0.2, 0.4, 0.4], [0.2, 0.2, 0.4, 0.45]]])
    both = torch.ones(1, 2, dtype=torch.bool)
    assert match(defaults, boxes, both).tolist() == [[0, 1]]
    assert match(defaults, boxes.flip(1), both).tolist() == [[1, 0]]
    assert match(defaults[:1], boxes.flip(1), both).tolist() == [[1]]
    far = torch.tensor([[[0.95, 0.0, 1.0, 0.05], [0.2, 0.2, 0.4, 0.4]]])  # overlaps nothing, and has nothing
    assert match(defaults, far, both).tolist() == [[1, -1]]


def test_loss_is_that_of_the_paper() -> None:
    """Cross entropy of matched boxes and of the three hardest others for each, smooth L1 of matched ones."""
    own, rows = made(), objects(3, [4, 0, 2])
    random = torch.Generator().manual_seed(1)
    places = len(own.last_defaults)
    offsets = torch.randn(3, places, 4, generator=random, requires_grad=True)
    logits = torch.randn(3, places, 3, generator=random, requires_grad=True)
    loss, wanted = MultiBox(own)(offsets, logits, rows)
    total, matched = 0.0, 0
    for image, count in enumerate([4, 0, 2]):
        found = expected_match(own.last_defaults, rows[image, :count, :4]) if count else [-1] * places
        hard = []
        for place, o in enumerate(found):
            label = 0 if o < 0 else int(rows[image, o, 4]) + 1
            assert int(wanted[image, place]) == label
            own_logits = logits[image, place].tolist()
            cost = math.log(sum(math.exp(v) for v in own_logits)) - own_logits[label]
            if o < 0:
                hard.append(cost)
                continue
            matched += 1
            target = encode(rows[image, o, :4][None], own.last_defaults[place][None], own.variances)[0].tolist()
            for a, b in zip(offsets[image, place].tolist(), target, strict=True):
                total += 0.5 * (a - b) ** 2 if abs(a - b) < 1 else abs(a - b) - 0.5
            total += cost
        total += sum(sorted(hard, reverse=True)[: 3 * sum(o >= 0 for o in found)])
    assert float(loss.detach()) == pytest.approx(total / matched, rel=1e-5)
    loss.backward()
    learned = (logits.grad != 0).any(2)
    assert int(learned.sum()) == 4 * matched
    assert not learned[1].any()
    assert torch.equal((offsets.grad != 0).any(2), wanted > 0)


def test_a_batch_without_objects_costs_nothing() -> None:
    own = made()
    offsets, logits = torch.randn(2, 116, 4, requires_grad=True), torch.randn(2, 116, 3, requires_grad=True)
    for rows in (torch.tensor(NONE).repeat(2, 1, 1), torch.zeros(2, 0, 6)):
        loss, wanted = MultiBox(own)(offsets, logits, rows)
        assert float(loss.detach()) == 0
        assert not wanted.any()
        loss.backward()
        assert not offsets.grad.any()
