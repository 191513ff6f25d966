"""The end of a detector of default boxes: from the maps of its heads to objects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error
from netsuke.nn.boxes import Shape, decode, default_boxes, suppress

EMPTY_ROW = (0.0, 0.0, 0.0, 0.0, 0.0, -1.0)


class Detector(nn.Module):
    """Offsets and logits of default boxes in training, detections in evaluation (Liu et al. 2016, section 2.2).

    labels: names of the kinds of objects; the logits have one more, the background's, in front. shapes: width and
    height of the default boxes at each place of every source map, relative to the image. steps: between two places of a
    map, relative to the image.

    Its argument is a list: of each source map the offsets (N, A * 4, H, W), then the logits (N, A * classes, H, W), A
    its default boxes at a place. In training mode it returns offsets (N, P, 4) and logits (N, P, classes) of all P
    default boxes. In eval mode it returns `keep` rows an image, (N, keep, 6): x1, y1, x2, y2 relative to the image, the
    score, and the place in `labels`. Rows that are left over are zeros, with the label -1.

    A box is a detection of a label where the label's probability is above `score_threshold`; of those, the best
    `candidates` a label remain, of these the ones that no better one of the label overlaps by more than
    `iou_threshold`, of these the best `keep` of all labels. Equal scores rank by label, then by default box. Boxes are
    clipped to the image before they are compared; one with a NaN is none.

    Raises netsuke.Error where labels, shapes or steps are missing, or numbers are outside of their ranges.
    """

    def __init__(
        self,
        labels: Sequence[str],
        shapes: Sequence[Sequence[Shape]],
        steps: Sequence[float],
        variances: tuple[float, float] = (0.1, 0.2),
        score_threshold: float = 0.01,
        iou_threshold: float = 0.45,
        candidates: int = 400,
        keep: int = 200,
    ) -> None:
        super().__init__()
        if not labels or len(set(labels)) != len(labels) or not all(isinstance(name, str) and name for name in labels):
            raise Error(f"labels are the names of the kinds of objects, each once, not {labels!r}")
        if len(shapes) != len(steps) or not all(shapes) or not all(step > 0 for step in steps):
            raise Error("shapes and steps are given for each source map: at least one shape, and a step above 0")
        if not 0 <= score_threshold < 1 or not 0 <= iou_threshold <= 1 or candidates < 1 or keep < 1:
            raise Error("thresholds are shares of 1, candidates and keep at least 1")
        self.labels = tuple(labels)
        self.shapes = tuple(tuple((float(w), float(h)) for w, h in own) for own in shapes)
        self.steps = tuple(float(step) for step in steps)
        self.variances = variances
        self.score_threshold, self.iou_threshold = score_threshold, iou_threshold
        self.candidates, self.keep = candidates, keep
        self._sizes: list[tuple[int, int]] = []
        self._defaults = torch.empty(0, 4)

    @property
    def classes(self) -> int:
        """Of the logits: the labels and the background."""
        return len(self.labels) + 1

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor] | Tensor:
        offsets, logits = self._flat(maps[::2], 4), self._flat(maps[1::2], self.classes)
        defaults = self.defaults([(int(m.shape[2]), int(m.shape[3])) for m in maps[::2]])
        if self.training:
            return offsets, logits
        offsets, logits = (part.to(torch.promote_types(part.dtype, torch.float32)) for part in (offsets, logits))
        boxes = decode(offsets, defaults.to(offsets.device), self.variances)
        scores = logits.softmax(2)[:, :, 1:]
        return torch.stack([self._detections(*image) for image in zip(boxes, scores, strict=True)])

    def defaults(self, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """The default boxes of source maps of these sizes (H, W): centre, width and height, float32 (P, 4)."""
        if self._sizes != list(sizes):
            self._sizes, self._defaults = list(sizes), default_boxes(sizes, self.shapes, self.steps)
        return self._defaults

    @property
    def last_defaults(self) -> Tensor:
        """The default boxes of the maps it saw last."""
        return self._defaults

    def _flat(self, maps: Sequence[Tensor], numbers: int) -> Tensor:
        """(N, A * numbers, H, W) each -> (N, P, numbers)"""
        return torch.cat([m.permute(0, 2, 3, 1).reshape(len(m), -1, numbers) for m in maps], 1)

    def _detections(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """Rows of one image, (keep, 6). boxes: (P, 4). scores: (P, labels).

        Its steps are the same for all values, with rows that count for nothing, so that it can be captured.
        """
        empty = boxes.new_tensor(EMPTY_ROW)
        sound = ~boxes.isnan().any(1, keepdim=True)
        ranked = torch.where(sound & (scores > self.score_threshold), scores, -1.0).T.sort(
            dim=1, descending=True, stable=True
        )
        best, places = ranked.values[:, : self.candidates], ranked.indices[:, : self.candidates]
        stays = suppress(boxes[places], best > 0, self.iou_threshold)
        labels = torch.arange(len(best), device=boxes.device, dtype=boxes.dtype)[:, None].expand_as(best)
        rows = torch.cat([boxes[places], best[:, :, None], labels[:, :, None]], 2)
        rows = torch.where(stays[:, :, None], rows, empty).flatten(0, 1)
        order = torch.where(stays, best, -1.0).flatten().sort(dim=0, descending=True, stable=True).indices[: self.keep]
        return torch.cat([rows[order], empty.expand(self.keep - len(order), 6)])

    def extra_repr(self) -> str:
        return f"labels={self.labels}, maps={len(self.shapes)}"
