"""A small detector, for tests of everything behind its maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from netsuke.nn import AdaBinActivation, BinaryConv2d, Detector, L2Norm, Maxout

LABELS = ("cat", "dog")
SHAPES = [[(0.2, 0.2), (0.3, 0.15)], [(0.5, 0.5), (0.7, 0.4), (0.4, 0.7)]]


class SmallDetector(nn.Module):
    """(N, 3, 32, 32) -> rows (N, keep, 6), out of maps of 8x8 and 4x4 places."""

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.BatchNorm2d(16), Maxout(16))
        self.norm = L2Norm(16, 5.0)
        self.down = nn.Sequential(
            BinaryConv2d(16, 32, 3, 2, 1, bias=False, binary_a=AdaBinActivation("published")), nn.BatchNorm2d(32)
        )
        self.locations = nn.ModuleList([nn.Conv2d(16, 4 * 2, 3, padding=1), nn.Conv2d(32, 4 * 3, 3, padding=1)])
        self.confidences = nn.ModuleList([nn.Conv2d(16, 3 * 2, 3, padding=1), nn.Conv2d(32, 3 * 3, 3, padding=1)])
        self.detector = Detector(LABELS, SHAPES, [1 / 8, 1 / 4], **values)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        sources = [self.norm(x), self.down(x)]
        maps = []
        for source, location, confidence in zip(sources, self.locations, self.confidences, strict=True):
            maps += [location(source), confidence(source)]
        return self.detector(maps)


def small_detector(**values: Any) -> SmallDetector:
    """In eval mode, with random weights of one seed that find something in most images. values: of the Detector."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SmallDetector(**values)
        for head in model.confidences:
            nn.init.normal_(head.weight, std=0.3)
    return model.eval()
