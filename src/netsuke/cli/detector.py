"""A detector out of a file or a checkpoint, and how well it finds what a data set says is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from netsuke.artifact.contract import Error
from netsuke.artifact.graph import Detect, Graph, Write
from netsuke.cli.output import watched
from netsuke.data import Annotation, DetectionDataset, Detections, Sizing, average_precision, detections

BATCH = 16


@dataclass
class Detector:
    """run takes uint8 (N, C, H, W) and returns rows, float32 (N, keep, 6). facts go into a command's result."""

    run: Callable[[np.ndarray], np.ndarray]
    labels: tuple[str, ...]
    input_shape: tuple[int, int, int]
    sizing: Sizing
    facts: dict[str, Any]

    def check(self, shape: tuple[int, ...], name: str) -> None:
        """Raises Error unless the network takes images of this shape (C, H, W)."""
        if tuple(shape) != tuple(self.input_shape):
            wanted, found = ("x".join(map(str, each)) for each in (self.input_shape, shape))
            raise Error(
                f"the network takes {wanted} images, {name} comes to {found}\nexport it with "
                f"preprocess=Preprocess(..., resize={self.input_shape[1]}, fit='stretch')"
            )


def labels_of(graph: Graph) -> tuple[str, ...] | None:
    """The names of the objects that a network finds; None where its one output is something else."""
    if len(graph.outputs) == 1:
        for node in graph.nodes:
            made = [step.out for step in node.epilogue if isinstance(step, Write)]
            if isinstance(node, Detect) and graph.outputs[0].value in made:
                return tuple(node.labels)
    return None


def score(network: Detector, dataset: DetectionDataset, batch: int = BATCH, limit: int | None = None) -> dict[str, Any]:
    """n; map, over VOC 2007's 11 points of recall, and map_all_points, over all; ap, {label: over the 11 points}.

    In per cent; the ap of a label without an object is None. Raises Error if the images do not fit the network.
    """
    count = len(dataset) if limit is None else min(limit, len(dataset))
    found: list[Detections] = []
    wanted: list[Annotation] = []
    for images, objects in watched(dataset.batches(batch, limit), "evaluating", -(-count // batch)):
        network.check(images.shape[1:], dataset.name)
        found += [detections(rows) for rows in network.run(images)]
        wanted += objects
    eleven, every = (average_precision(found, wanted, network.labels, kind) for kind in ("11-point", "all-point"))
    of_labels = zip(network.labels, eleven.of_class, strict=True)
    ap = {label: None if np.isnan(own) else 100 * float(own) for label, own in of_labels}
    return {"n": count, "map": 100 * eleven.map, "map_all_points": 100 * every.map, "ap": ap}
