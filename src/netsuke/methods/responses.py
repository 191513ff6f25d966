"""What layers give on calibration images, at a few places of their maps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error, first_line
from netsuke.methods.calibration import batches

MOST = 1 << 24  # numbers that are kept of one layer: more images have fewer places looked at
FEWEST = 2  # samples a channel: of fewer a fit says more about the images than about the layer


class _Seen(Exception):
    """The forward need not go on."""


class Responses:
    """Samples of the maps of any layer, the same places of the same images at every call.

    calibration: images (N, C, H, W), or an iterable of batches of them. samples: places an image. Raises netsuke.Error
    where these are no images, fewer than 2, or hold NaN or infinity.
    """

    def __init__(self, calibration: Any, samples: int, seed: int) -> None:
        # What can be read once only is kept.
        self._calibration = list(calibration) if isinstance(calibration, Iterator) else calibration
        self._samples, self._seed = samples, seed
        self.images = 0
        first = None
        for images in self._batches():
            if not images.is_floating_point() or not images.dim():
                raise Error(f"calibration must be float images, normalised, not {images.dtype} {tuple(images.shape)}")
            if not bool(torch.isfinite(images).all()):
                at = (~torch.isfinite(images)).flatten(1).any(1).nonzero()[0]
                raise Error(f"calibration image {self.images + int(at)} holds NaN or infinity: leave it out")
            self.images += len(images)
            first = images[:1] if first is None and len(images) else first
        if first is None or self.images < 2:
            raise Error(
                f"calibration holds {self.images} image{'s' * (self.images != 1)}: "
                "give a few hundred training images at least, normalised"
            )
        self.first = first

    def _batches(self) -> Iterator[Tensor]:
        for images, *_ in batches(self._calibration):
            yield images

    def maps(self, model: nn.Module, names: list[str]) -> dict[str, list[tuple[torch.Size, torch.Size]]]:
        """The shapes (1, C, H, W) of what goes in and what comes out, for each time that a layer runs."""
        found: dict[str, list[tuple[torch.Size, torch.Size]]] = {name: [] for name in names}

        def note(name: str, given: Any, made: Any) -> None:
            found[name].append((given[0].shape, made.shape))

        _watch(model, {name: model.get_submodule(name) for name in names}, note, [self.first])
        return found

    def covariances(self, model: nn.Module, names: list[str]) -> dict[str, Tensor]:
        """(d, d) of the d responses of each layer, float64. Raises netsuke.Error as `of`."""
        count = dict.fromkeys(names, 0)
        sums: dict[str, Tensor] = {}
        squares: dict[str, Tensor] = {}
        draws = {name: self._draw(name) for name in names}

        def note(name: str, _: Any, made: Tensor) -> None:
            samples = draws[name](made)
            count[name] += len(samples)
            sums[name] = sums.get(name, 0) + samples.sum(0)
            squares[name] = squares.get(name, 0) + samples.T @ samples

        _watch(model, {name: model.get_submodule(name) for name in names}, note, self._batches())
        for name in names:
            _check_count(name, count[name], len(sums[name]))
        return {
            name: squares[name] / count[name] - torch.outer(sums[name], sums[name]) / count[name] ** 2 for name in names
        }

    def of(self, model: nn.Module, name: str, module: nn.Module) -> Tensor:
        """Samples (n, d) of what `module` gives in `model`, float64, on the CPU. name: decides the places.

        Raises netsuke.Error where the forward fails, a number is not finite, or n is too small for d.
        """
        parts: list[Tensor] = []
        draw = self._draw(name)

        def note(_: str, __: Any, made: Tensor) -> None:
            parts.append(draw(made))
            raise _Seen

        _watch(model, {name: module}, note, self._batches())
        samples = torch.cat(parts)
        _check_count(name, *samples.shape)
        return samples

    def _draw(self, name: str) -> Callable[[Tensor], Tensor]:
        """Takes samples of maps (n, d, h, w), batch after batch."""
        generator = torch.Generator().manual_seed(crc32(f"{self._seed} {name}".encode()))

        def draw(made: Tensor) -> Tensor:
            n, d = made.shape[:2]
            flat = made.detach().flatten(2)
            per_image = max(1, min(self._samples, flat.shape[2], MOST // (d * self.images)))
            at = torch.randint(flat.shape[2], (n, 1, per_image), generator=generator).to(flat.device)
            samples = flat.gather(2, at.expand(-1, d, -1)).transpose(1, 2).flatten(0, 1).double().cpu()
            if not bool(torch.isfinite(samples).all()):
                raise Error(f"{name} gives numbers that are not finite: the model's weights are damaged")
            return samples

        return draw


def _check_count(name: str, samples: int, channels: int) -> None:
    if samples < FEWEST * channels:
        raise Error(
            f"{name} has {channels} channels, and {samples} samples were drawn of it: "
            f"give {FEWEST * channels / max(1, samples):.1f} times as many calibration images at least, or skip= it"
        )


def _watch(
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    note: Callable[[str, Any, Any], None],
    images: Any,
) -> None:
    """Runs the model on batches and tells `note` what each of the modules is given and gives."""
    handles = [
        module.register_forward_hook(lambda _, given, made, name=name: note(name, given, made))
        for name, module in modules.items()
    ]
    try:
        for batch in images:
            with contextlib.suppress(_Seen):
                model(batch)
    except Error:
        raise
    except Exception as error:  # a user's forward may fail in any way it likes
        raise Error(f"{type(model).__name__} fails on the calibration images: {first_line(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
