"""How each activation is coded in 8 bits: the range that loses least on calibration images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from netsuke.artifact.contract import Error
from netsuke.lowering.build import Origin
from netsuke.lowering.capture import Captured
from netsuke.lowering.quantize import Coding, coding

CHUNK = 16  # images that run at a time
BINS = 1 << 14
FRACTIONS = (
    np.arange(4, 65) / 64
)  # of an end of the range. At the least, one code still spans four bins of the histogram


def calibrate(
    captured: Captured, origin: Mapping[int, Origin], values: Iterable[int], images: Any
) -> dict[int, Coding]:
    """The coding of each of `values`, by id, from two runs of the captured module over the calibration images.

    The first run finds the least and the largest number of an activation, the second its histogram. The range is then
    the one, out of those inside, whose 256 codes have the least mean squared error over the histogram: ends that hold
    few numbers are clipped, for finer steps where most are. (Nagel et al. 2021, "A White Paper on Neural Network
    Quantization", section 3.1, MSE; after Choukroun et al. 2019, "Low-bit Quantization of Neural Networks for Efficient
    Inference".) The two ends are searched in turns until neither moves.

    images: float (N, C, H, W), normalised, a tensor or an array; or an iterable of such batches, or of tuples that
    begin with one, as a DataLoader gives. Raises netsuke.Error where they are not, or the module's numbers are not
    finite.
    """
    batches = _batches(images, captured.input_shape)
    names = {value: origin[value].name for value in values}
    extremes = dict.fromkeys(names.values(), (0.0, 0.0))
    counts = {name: np.zeros(BINS, np.int64) for name in names.values()}

    def find_extremes(name: str, x: Tensor) -> None:
        least, largest = (float(number) for number in torch.aminmax(x))
        if not np.isfinite([least, largest]).all():
            raise Error(
                f"calibration: the result of {name!r} in the float model is not finite: "
                "the model is damaged or training diverged"
            )
        extremes[name] = (min(extremes[name][0], least), max(extremes[name][1], largest))

    def count(name: str, x: Tensor) -> None:
        low, high = extremes[name]
        if high > low:
            x = x[x != 0].double()  # zeros have a code of their own in every range
            bins = ((x - low) * (BINS / (high - low))).long().clamp_(0, BINS - 1)
            counts[name] += torch.bincount(bins, minlength=BINS).numpy()

    _run(captured.module, batches, set(names.values()), find_extremes)
    _run(captured.module, batches, set(names.values()), count)
    codings = {name: coding(*best_range(*extremes[name], counts[name])) for name in extremes}
    return {value: codings[name] for value, name in names.items()}


def best_range(low: float, high: float, counts: np.ndarray) -> tuple[float, float]:
    """The range inside [low, high] with the least mean squared error.

    low <= 0 <= high. counts: how many numbers lie in each of equal bins over [low, high].
    """
    centres = low + (np.arange(len(counts)) + 0.5) * ((high - low) / len(counts))
    centres, counts = centres[counts > 0], counts[counts > 0]

    def error(ends: tuple[float, float]) -> float:
        code = coding(*ends)
        rounded = np.clip(np.rint(centres / code.scale) + code.zero, 0, 255)
        return float(counts @ (centres - (rounded - code.zero) * code.scale) ** 2)

    best = (low, high)
    least, before = error(best), np.inf
    while least < before:
        before = least
        for candidates in ([(f * low, best[1]) for f in FRACTIONS], [(best[0], f * high) for f in FRACTIONS]):
            errors = [error(candidate) for candidate in candidates]
            if min(errors) < least:
                least, best = min(errors), candidates[int(np.argmin(errors))]
    return best


class _Observer(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, names: set[str], look: Callable[[str, Tensor], None]) -> None:
        super().__init__(module)
        self._names, self._look = names, look

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self._names:
            self._look(n.name, result[0] if isinstance(result, tuple) else result)  # batch norm returns statistics too
        return result


def _run(module: fx.GraphModule, batches: list[Tensor], names: set[str], look: Callable[[str, Tensor], None]) -> None:
    """Show `look` the results of the named nodes, on every image."""
    observer = _Observer(module, names, look)
    with torch.no_grad():
        for batch in batches:
            for part in batch.split(CHUNK):
                observer.run(part)


def _batches(images: Any, shape: tuple[int, int, int]) -> list[Tensor]:
    wanted = f"normalised float images (N, {', '.join(map(str, shape))}), or an iterable of such batches"
    batches = []
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
        batches.append(batch.detach().float().cpu())
    if not any(len(batch) for batch in batches):
        raise Error(f"calibration holds no images: give {wanted}; a few hundred of the training images are enough")
    return batches


def _items(images: Any, wanted: str) -> Iterator[Any]:
    if isinstance(images, (Tensor, np.ndarray)):
        return iter([images])
    try:
        return iter(images)
    except TypeError:
        raise Error(f"calibration is of type {type(images).__name__}: give {wanted}") from None
