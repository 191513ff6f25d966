"""How each activation is coded in 8 or 4 bits: the range that loses least on calibration images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from netsuke.artifact.contract import Error
from netsuke.lowering.build import Origin
from netsuke.lowering.capture import Captured
from netsuke.nn.coding import Coding, Histogram, best_range, coding

CHUNK = 16  # images that run at a time


def calibrate(
    captured: Captured, origin: Mapping[int, Origin], values: Iterable[tuple[int, int]], images: Any
) -> dict[tuple[int, int], Coding]:
    """The coding of each of `values`, an id and the bits, from one run of the captured module over calibration images.

    Of each activation a histogram is kept. Its range is the one, out of those inside the least and the largest number,
    whose 2^bits codes have the least mean squared error over the histogram: ends that hold few numbers are clipped, for
    finer steps where most are. (Nagel et al. 2021, "A White Paper on Neural Network Quantization", section 3.1, MSE;
    after Choukroun et al. 2019, "Low-bit Quantization of Neural Networks for Efficient Inference".) The two ends are
    searched in turns until neither moves.

    images: float (N, C, H, W), normalised, a tensor or an array; or an iterable of such batches, or of tuples that
    begin with one, as a DataLoader gives. Raises netsuke.Error where they are not, or the module's numbers are not
    finite.
    """
    names = {(value, bits): origin[value].name for value, bits in values}
    histograms = {name: Histogram() for name in names.values()}
    observer = _Observer(captured.module, histograms)
    with torch.no_grad():
        for batch in batches(images, captured.input_shape):
            for part in batch.split(CHUNK):
                observer.run(part)
    return {(v, bits): coding(*best_range(histograms[name], bits), bits) for (v, bits), name in names.items()}


class _Observer(fx.Interpreter):
    """Runs a module; what the named nodes return goes into histograms."""

    def __init__(self, module: fx.GraphModule, histograms: dict[str, Histogram]) -> None:
        super().__init__(module)
        self._histograms = histograms

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self._histograms:
            x = result[0] if isinstance(result, tuple) else result  # batch norm returns statistics too
            if not bool(torch.isfinite(x).all()):
                raise Error(
                    f"calibration: the result of {n.name!r} in the float model is not finite: "
                    "the model is damaged or training diverged"
                )
            self._histograms[n.name].add(x)
        return result


def batches(images: Any, shape: tuple[int, int, int]) -> Iterator[Tensor]:
    """The images, batch by batch, as float32. Raises Error for what is none, at the end for none at all."""
    wanted = f"normalised float images (N, {', '.join(map(str, shape))}), or an iterable of such batches"
    count = 0
    for item in _items(images, wanted):
        item = item[0] if isinstance(item, (tuple, list)) and item else item
        batch = torch.from_numpy(item) if isinstance(item, np.ndarray) and item.dtype.kind == "f" else item
        if not isinstance(batch, Tensor) or not batch.is_floating_point():
            kind = f"an item of type {type(item).__name__}"
            found = f"{item.dtype} numbers" if isinstance(item, (Tensor, np.ndarray)) else kind
            raise Error(f"calibration holds {found}: give {wanted}")
        if batch.dim() != 4 or tuple(batch.shape[1:]) != shape:
            raise Error(f"calibration holds a batch of shape {tuple(batch.shape)}: give {wanted}")
        if not bool(torch.isfinite(batch).all()):
            raise Error(
                "calibration holds a number that is not finite (NaN or infinity): check how the images were made"
            )
        count += len(batch)
        if len(batch):
            yield batch.detach().float().cpu()
    if count == 0:
        raise Error(f"calibration holds no images: give {wanted}; a few hundred of the training images are enough")


def _items(images: Any, wanted: str) -> Iterator[Any]:
    if isinstance(images, (Tensor, np.ndarray)):
        return iter([images])
    try:
        return iter(images)
    except TypeError:
        raise Error(f"calibration is of type {type(images).__name__}: give {wanted}") from None
