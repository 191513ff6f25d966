"""The loss around a trained network, on a plane through its weights (Li et al. 2018), and how smooth it is."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from netsuke import atomic
from netsuke.artifact.contract import Error
from netsuke.nn.fuse import fuse
from netsuke.nn.modes import evaluating

Statistics = Literal["running", "batch"]


@dataclass(frozen=True)
class Landscape:
    """at: the coordinates (P,) along both directions, 0 in the middle. loss: (P, P), in nats an image; loss[i, j] lies
    at[i] along the second direction and at[j] along the first. accuracy: (P, P), per cent."""

    at: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray


@dataclass(frozen=True)
class Smoothness:
    """Figures for a surface on a grid; the definitions are ours. Compare them on equal grids only.

    bumps: 0 where every row and column of the grid falls to one lowest point and rises from it, else how much they go
    up and down beyond that, as a share of it: sum of total variation / sum of (first - lowest) + (last - lowest), - 1.
    bend: root mean square of the second differences over that of the first ones, along rows and columns: 0 for a plane,
    sqrt(3) for white noise.
    rise: how much higher the surface is on average than in its middle, nats.
    """

    bumps: float
    bend: float
    rise: float


def loss_landscape(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    points: int = 21,
    radius: float = 1.0,
    seed: int = 0,
    statistics: Statistics = "running",
    batch: int = 250,
    cache: Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> Landscape:
    """The cross entropy of `model` at theta + x d1 + y d2 for x and y on a grid from -radius to radius.

    d1 and d2 are Gaussian directions, a function of `seed` and of the parameters' names, scaled so that each of their
    filters is as long as the weights' filter: |d_f| = |theta_f| (Li et al. 2018, section 4). Biases, batch norm and all
    else that has no filters (slopes, thresholds, scales a channel) stays, as there. The weights of a binary layer are
    its latent ones; they are binarized inside the forward, at every point of the plane.

    model: (N, C, H, W) -> logits (N, classes); left as it was. images, labels: float (N, C, H, W) and int64 (N,).
    points: on a side, odd, so that the trained network is one of them. statistics: "running" evaluates all points with
    the statistics that training left in batch norm, as Li et al. do: the surface is then the loss of the one function
    that is deployed. "batch" has batch norm normalise by the statistics of each batch, which hides shifts and scales.
    batch: images at once (in "batch" statistics, what they are over).

    cache: a file for finished rows of points; a later call with the same model, images and settings goes on from it.
    progress: called with the share that is done, 0 to 1, after each row.

    Raises netsuke.Error for a grid without a middle, no images, a model without filters, logits that are not finite.
    """
    if points < 3 or points % 2 == 0 or not 0 < radius < float("inf"):
        raise Error(
            f"a landscape needs an odd number of points, 3 or more, and a radius above 0: not {points}, {radius}"
        )
    if not len(images) or len(images) != len(labels):
        raise Error(f"a landscape needs images with labels, not {len(images)} images and {len(labels)} labels")
    at = np.linspace(-radius, radius, points)
    at[points // 2] = 0.0
    settings = {"points": points, "radius": radius, "seed": seed, "statistics": statistics, "batch": batch}
    rows = _Rows(cache, {**settings, "of": _digest(model, images, labels)})
    first, second = directions(model, seed), directions(model, seed + 1)
    if images.dim() == 4:
        images = images.contiguous(memory_format=torch.channels_last)  # as the fused operators read them
    with _evaluating(model, statistics), _moved(model) as move:
        forward = fuse(model)  # of the same parameters
        for i in range(len(rows.loss), points):
            measured = []
            for x in at:
                move((float(x), first), (float(at[i]), second))
                measured.append(_measure(forward, images.split(batch), labels.split(batch), (float(x), float(at[i]))))
            rows.add([loss for loss, _ in measured], [right for _, right in measured])
            if progress is not None:
                progress((i + 1) / points)
    return Landscape(at, np.array(rows.loss), np.array(rows.accuracy))


def directions(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """A random direction for every parameter that has filters, of its shape and with filters of its filters' lengths.

    Each is drawn from a generator of its own, so that networks share the draws of the layers that they share.
    Raises netsuke.Error where no parameter has filters.
    """
    made = {}
    for name, parameter in model.named_parameters():
        if not has_filters(parameter):
            continue
        place = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "little") >> 1
        draw = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(place)).to(parameter)
        over = tuple(range(1, parameter.dim()))
        own_length, length = (vector_norm(t, dim=over, keepdim=True) for t in (parameter.detach(), draw))
        made[name] = draw * (own_length / length)
    if not made:
        raise Error(f"{type(model).__name__} has no weights of two dimensions or more: there is no landscape around it")
    return made


def has_filters(parameter: Tensor) -> bool:
    """Whether it is a weight (O, ...) of filters, not one number a channel, in whatever shape: (C,) or (1, C, 1, 1)."""
    return parameter.dim() > 1 and sum(size > 1 for size in parameter.shape) > 1


def smoothness(surface: np.ndarray) -> Smoothness:
    """Figures for a surface (P, P), P odd."""
    lines = np.concatenate([surface, surface.T])
    steps = np.diff(lines, axis=1)
    least = lines.min(axis=1)
    needed = float((lines[:, 0] - least + lines[:, -1] - least).sum())
    walked = float(np.abs(steps).sum())
    slope = float(np.sqrt((steps**2).mean()))
    bend = float(np.sqrt((np.diff(steps, axis=1) ** 2).mean()))
    middle = surface[len(surface) // 2, len(surface) // 2]
    return Smoothness(
        walked / needed - 1 if needed > 0 else 0.0, bend / slope if slope > 0 else 0.0, float((surface - middle).mean())
    )


def _digest(model: nn.Module, images: Tensor, labels: Tensor) -> str:
    """Of all that the surface is a function of, but for the code of the forward."""
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in (*model.state_dict().items(), ("images", images), ("labels", labels)):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class _Rows:
    """Rows of points that are done, kept in a file if there is one."""

    def __init__(self, path: Path | None, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, settings
        self.loss: list[list[float]] = []
        self.accuracy: list[list[float]] = []
        if path is None or not path.is_file():
            return
        with contextlib.suppress(ValueError, TypeError, KeyError):  # not one of ours: it is made anew
            held = json.loads(path.read_text("utf-8"))
            if held["settings"] == settings:
                self.loss, self.accuracy = held["loss"], held["accuracy"]

    def add(self, loss: list[float], accuracy: list[float]) -> None:
        self.loss.append(loss)
        self.accuracy.append(accuracy)
        if self.path is not None:
            held = {"settings": self.settings, "loss": self.loss, "accuracy": self.accuracy}
            atomic.write(self.path, json.dumps(held).encode())


@contextlib.contextmanager
def _evaluating(model: nn.Module, statistics: Statistics) -> Iterator[None]:
    """Eval mode; with "batch" statistics, batch norm without its running ones."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    buffers = [(m, m.running_mean, m.running_var) for m in norms]
    try:
        if statistics == "batch":
            for norm in norms:
                norm.running_mean = norm.running_var = None  # torch's sign for those of the batch
        with evaluating(model):
            yield
    finally:
        for norm, mean, var in buffers:
            norm.running_mean, norm.running_var = mean, var


@contextlib.contextmanager
def _moved(model: nn.Module) -> Iterator[Callable[..., None]]:
    """A function that puts the weights at a point of the plane; in the end they are bit for bit where they were."""
    home = {name: p.detach().clone() for name, p in model.named_parameters() if has_filters(p)}
    parameters = dict(model.named_parameters())

    @torch.no_grad()
    def move(*steps: tuple[float, dict[str, Tensor]]) -> None:
        for name, start in home.items():
            place = parameters[name].copy_(start)
            for distance, direction in steps:
                if distance:
                    place.add_(direction[name], alpha=distance)

    try:
        yield move
    finally:
        move()


@torch.inference_mode()
def _measure(
    model: nn.Module, images: tuple[Tensor, ...], labels: tuple[Tensor, ...], place: tuple[float, float]
) -> tuple[float, float]:
    """(cross entropy in nats an image, per cent right)."""
    loss = right = count = 0.0
    for x, y in zip(images, labels, strict=True):
        logits = model(x)
        loss += float(cross_entropy(logits.double(), y, reduction="sum"))
        right += float((logits.argmax(1) == y).sum())
        count += len(y)
    if not np.isfinite(loss):
        raise Error(
            f"the logits are not finite at {place} of the landscape: check the weights, or take a smaller radius"
        )
    return loss / count, 100 * right / count


def summary(landscape: Landscape) -> dict[str, float]:
    """The figures of `smoothness` and the loss and accuracy in the middle, by name."""
    middle = len(landscape.at) // 2
    return {
        "loss": float(landscape.loss[middle, middle]),
        "accuracy": float(landscape.accuracy[middle, middle]),
        **asdict(smoothness(landscape.loss)),
    }
