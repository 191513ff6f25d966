"""A detector out of a file or a checkpoint, and how well it finds what a data set says is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from netsuke import artifact
from netsuke.artifact.contract import Error
from netsuke.artifact.graph import Detect, Graph
from netsuke.cli.output import stderr_console
from netsuke.data import Annotation, DetectionDataset, Sizing


@dataclass
class Detector:
    """run takes uint8 (N, C, H, W) and returns rows, float32 (N, keep, 6). facts go into a command's result."""

    run: Callable[[np.ndarray], np.ndarray]
    labels: tuple[str, ...]
    input_shape: tuple[int, int, int]
    sizing: Sizing
    facts: dict[str, Any]

    def check(self, shape: tuple[int, ...], name: str) -> None:
        """Raises Error unless the network takes images of this shape."""
        if shape != tuple(self.input_shape):
            wanted, found = (f"{w}x{h}" for _, h, w in (self.input_shape, shape))
            raise Error(
                f"the network takes {wanted} images, {name} comes to {found}\nexport it with "
                f"preprocess=Preprocess(..., resize={self.input_shape[1]}, fit='stretch')"
            )


def labels_of(graph: Graph) -> tuple[str, ...] | None:
    """The names of the objects that a file finds; None where it is no detector."""
    if len(graph.outputs) != 1:
        return None
    value = graph.outputs[0].value
    found = (n for n in graph.nodes if isinstance(n, Detect) and any(getattr(s, "out", 0) == value for s in n.epilogue))
    node = next(found, None)
    return None if node is None else tuple(node.labels)


def from_file(file: Path, threads: int = 1, isa: str | None = None) -> Detector:
    """Raises Error unless it is a sound file of a detector that takes images."""
    graph = artifact.read(file)
    labels = labels_of(graph)
    if labels is None:
        raise Error(f"{file} is not a detector: its network does not end in boxes. `netsuke info {file}` says what it is")
    if graph.transform is None:
        raise Error(f"{file} does not say how images become its input: export it with preprocess=Preprocess(...)")
    from netsuke.engine import load

    engine = load(file, threads=threads, isa=isa)
    facts = {"model": graph.model, "backend": "engine", "isa": engine.isa}
    return Detector(lambda x: np.asarray(engine(x)), labels, graph.input_shape, graph.transform, facts)


def score(network: Detector, dataset: DetectionDataset, batch: int = 16, limit: int | None = None) -> dict[str, Any]:
    """n, map (VOC 2007's 11 points), map_all_points, and ap, {label: of 11 points}; in per cent.

    Raises Error if the images or the labels do not fit the network.
    """
    count = len(dataset) if limit is None else min(limit, len(dataset))
    found, wanted = [], list[Annotation]()
    steps = track(
        dataset.batches(batch, limit), description="evaluating", total=-(-count // batch), console=stderr_console(),
        transient=True,
    )  # fmt: skip
    for images, annotations in steps:
        network.check(images.shape[1:], dataset.name)
        found += [detections(rows) for rows in network.run(images)]
        wanted += annotations
    by_points = {points: average_precision(found, wanted, len(network.labels), points) for points in ("11", "all")}
