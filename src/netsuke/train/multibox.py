"""SSD's objective: which default box is to find which object, and what its offsets and logits then cost."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.nn.functional import cross_entropy, smooth_l1_loss

from netsuke.nn import Detector
from netsuke.nn.boxes import corners, encode, overlaps

MATCHED_OVERLAP = 0.5
NEGATIVES = 3  # default boxes without an object that are learned from, for each with one


def match(defaults: Tensor, boxes: Tensor, real: Tensor) -> Tensor:
    """The object of each default box, or -1 (Liu et al. 2016, section 2.2, "Matching strategy"): int64 (N, P).

    defaults: (P, 4) as corners. boxes: (N, M, 4) as corners, M at least 1. real: bool (N, M), false for rows that are
    no objects. Each object has a default box of its own, the pair of all that overlaps most being chosen first; each
    other default box has the object that it overlaps most, where that is more than 0.5.
    """
    shared = overlaps(boxes, defaults).masked_fill_(~real[:, :, None], 0.0)  # (N, M, P)
    most, objects = shared.max(1)
    objects.masked_fill_(most <= MATCHED_OVERLAP, -1)
    best, where = shared.max(2)  # (N, M)
    while True:
        overlap, chosen = best.max(1)
        images = (overlap > 0).nonzero()[:, 0]
        if not len(images):
            return objects
        own = chosen[images]
        taken = where[images, own]
        objects[images, taken] = own
        best[images, own] = 0
        shared[images, :, taken] = 0
        rivals = torch.zeros_like(real)
        rivals[images] = where[images] == taken[:, None]
        image, rival = (rivals & (best > 0)).nonzero(as_tuple=True)
        if len(image):
            best[image, rival], where[image, rival] = shared[image, rival].max(1)


class MultiBox:
    """L = (cross entropy + smooth L1) / matched default boxes (Liu et al. 2016, equation 1, alpha = 1).

    Of the default boxes without an object, the cross entropy is taken of those with the largest, three for each box of
    the image that has one. Difficult objects are learned like others. A batch without objects costs nothing. Over
    several processes the divisor is their mean, so that the mean of their gradients is that of the whole batch.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    def __call__(self, offsets: Tensor, logits: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and the class that each default box is to have, int64 (N, P), 0 for the background.

        offsets: (N, P, 4). logits: (N, P, classes). objects: float (N, M, 6), rows of x1, y1, x2, y2 relative to the
        image, the label and whether it is difficult; rows with the label -1 are none.
        """
        offsets, logits = (part.to(torch.promote_types(part.dtype, torch.float32)) for part in (offsets, logits))
        defaults = self.detector.last_defaults.to(offsets.device)
        if objects.shape[1] == 0:
            objects = objects.new_tensor([0, 0, 0, 0, -1, 0]).expand(len(objects), 1, 6)
        boxes, labels = objects[..., :4], objects[..., 4].long()
        found = match(corners(defaults), boxes, labels >= 0)
        matched = found >= 0
        wanted = torch.where(matched, labels.gather(1, found.clamp(min=0)) + 1, 0)
        cost = cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
        with torch.no_grad():
            rank = cost.masked_fill(matched, -1.0).argsort(1, descending=True).argsort(1)
            learned = matched | (rank < NEGATIVES * matched.sum(1, keepdim=True))
        image, place = matched.nonzero(as_tuple=True)
        own = encode(boxes[image, found[image, place]].to(offsets.dtype), defaults[place], self.detector.variances)
        total = (cost * learned).sum() + smooth_l1_loss(offsets[image, place], own, reduction="sum")
        return total / max(1.0, _mean_over_processes(len(image), offsets.device)), wanted


def _mean_over_processes(count: int, device: torch.device) -> float:
    if not distributed.is_available() or not distributed.is_initialized():
        return count
    total = torch.tensor(float(count), device=device)
    distributed.all_reduce(total)
    return float(total) / distributed.get_world_size()
