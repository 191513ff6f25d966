"""Do the engine's detections equal PyTorch's? Counts of one trained detector over a data set.

    python -m benchmarks.detection_agreement --run runs/adabin-bccd --data voc:../shared/data/bccd [--limit 20]

A detection agrees if the other side has one of the same label, IoU over 0.99, and a score within 1e-3. The engine is
compared with PyTorch in float64, and so is PyTorch in float32; then these two with one another. An image counts as
without a flip if every bit of the file, of all its binary layers, is the float64 module's; the numpy reference says so,
whose bits are the engine's. It takes some seconds an image.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

import netsuke
from netsuke import artifact
from netsuke.artifact.contract import Error
from netsuke.cli.checkpoint import load_run
from netsuke.data import normalise, open_detection
from netsuke.lowering import lower
from netsuke.lowering.trace import trace64
from netsuke.report.runs import read_run

OVERLAP, SCORE = 0.99, 1e-3


def agreement(made: np.ndarray, expected: np.ndarray) -> tuple[int, int]:
    """How many detections there are, on the side that has more, and how many of them agree.

    made, expected: rows of one image, (keep, 6). A box of no area agrees with one whose corners are its own.
    """
    made, left = made[made[:, 5] >= 0], expected[expected[:, 5] >= 0]
    total, agreed = max(len(made), len(left)), 0
    for row in made:
        sides = np.minimum(row[2:4], left[:, 2:4]) - np.maximum(row[:2], left[:, :2])
        inner = np.maximum(sides, 0).prod(1)
        union = (row[2:4] - row[:2]).prod() + (left[:, 2:4] - left[:, :2]).prod(1) - inner
        near = (inner > OVERLAP * union) | (np.abs(row[:4] - left[:, :4]).max(1) < 1e-6)
        found = np.flatnonzero(near & (np.abs(row[4] - left[:, 4]) < SCORE) & (row[5] == left[:, 5]))
        if len(found):
            agreed += 1
            left = np.delete(left, found[0], 0)
    return total, agreed


def count(run: Path, spec: str, limit: int | None) -> dict[str, list[int]]:
    """For each comparison: images, detections, and detections that agree."""
    network = load_run(read_run(run))
    module = network.module
    data = open_detection(spec, "test", network.preprocess, module.detector.labels)
    lowered = lower(module, torch.zeros(2, *network.entry.input))
    engine, reference = netsuke.load(artifact.encode(lowered.graph)), artifact.Reference(lowered.graph)
    bits = [i for i, value in enumerate(artifact.infer(lowered.graph)) if value.kind == "bits"]
    names = ("no bit flips", "all images", "float32 against float64", "engine against float32")
    totals = {name: [0, 0, 0] for name in names}
    for images, _ in data.batches(1, limit):
        x = normalise(images, network.preprocess)
        rows, true, own = np.asarray(engine(x))[0], trace64(lowered, x), reference.trace(x)
        with torch.no_grad():
            plain = module(torch.from_numpy(x)).numpy()[0]
        expected = true[lowered.graph.outputs[0].value][0, :, :, 0]
        same = all(np.array_equal(own[i], true[i]) for i in bits)
        pairs = {"all images": (rows, expected), "float32 against float64": (plain, expected)}
        pairs["engine against float32"] = (rows, plain)
        if same:
            pairs["no bit flips"] = (rows, expected)
        for name, pair in pairs.items():
            for i, number in enumerate((1, *agreement(*pair))):
                totals[name][i] += number
    return totals


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--run", type=Path, required=True, help="folder of a finished `netsuke train`")
    options.add_argument("--data", required=True, metavar="SPEC", help="voc:PATH; its test images")
    options.add_argument("--limit", type=int, help="only so many images, evenly spaced")
    given = options.parse_args()
    torch.set_num_threads(1)
    try:
        for name, (images, total, agreed) in count(given.run, given.data, given.limit).items():
            share = f"{100 * agreed / total:.2f} %" if total else "none"
            print(f"{name}: {images} images, {total} detections, {agreed} agree: {share}")
    except Error as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
