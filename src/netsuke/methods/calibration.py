"""The images that a method looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor

from netsuke.artifact.contract import Error

BATCH = 64  # images a batch, of calibration tensors


def batches(calibration: Any) -> Iterator[tuple[Tensor, ...]]:
    """Of a tensor, a tuple of tensors, or an iterable of either. Raises netsuke.Error for anything else."""
    if isinstance(calibration, Tensor):
        calibration = (calibration,)
    if isinstance(calibration, tuple) and all(isinstance(part, Tensor) for part in calibration):
        yield from zip(*(part.split(BATCH) for part in calibration), strict=True)
        return
    if not isinstance(calibration, Iterable):
        raise Error("calibration must be images, (images, labels), or an iterable of such batches")
    for batch in calibration:
        parts = tuple(batch) if isinstance(batch, Sequence) else (batch,)
        if not parts or not all(isinstance(part, Tensor) for part in parts):
            raise Error("calibration must be images, (images, labels), or an iterable of such batches")
        yield parts
