"""How sensitive the layers of a network are to pruning, and where k-means of weight sharing is best begun.

From two finished runs of `netsuke train` with images held out (recipe: validation), on which everything is measured:
the float network, for the sensitivity of its layers, and a pruned one, whose weights are shared from each start at each
number of bits, before and after the shared numbers have trained. No test image is looked at.

    python -m benchmarks.weight_sharing --float runs/float --pruned runs/pruned --data mnist:../shared/data/mnist \
        --out runs/weight-sharing [--bits 1-6] [--epochs 2] [--threads 1]

It may be killed at any time: started again it goes on where it was. OUT holds sensitivity.svg, a result for each number
of bits and start, and table.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.study import result_of, run_missing
from torch import Tensor, nn

import netsuke
from netsuke import Error, Preprocess, atomic
from netsuke.analyze import Sensitivity, sensitivity
from netsuke.cli.checkpoint import load_run
from netsuke.data import Dataset, holdout, normalise, open_dataset
from netsuke.methods.share import STARTS
from netsuke.report.pictures import sensitivity_curves
from netsuke.report.runs import Run, read_run
from netsuke.report.style import svg
from netsuke.train import Recipe, accuracy, fit, make_augment, make_fabric
from netsuke.train.recipe import Augmentation, Model, Optimizer, Schedule


def parts(run: Run, spec: str) -> tuple[Dataset, Tensor, Tensor, Preprocess]:
    """What the run was trained on, the images and labels that it held out, and its preprocessing."""
    count, seed = run.recipe.get("validation", 0), run.recipe.get("seed", 0)
    if not count:
        raise Error(f"{run.folder} held no images out: train it with --set validation=5000, say")
    network = load_run(run)
    data, held = holdout(open_dataset(spec, "train", network.preprocess), count, seed)
    found = [(normalise(images, network.preprocess), labels) for images, labels in held.batches(250)]
    images, labels = (torch.from_numpy(np.concatenate(part)) for part in zip(*found, strict=True))
    return data, images, labels, network.preprocess


def share_and_train(run: Run, spec: str, bits: int, start: Any, epochs: int) -> dict[str, Any]:
    """Held-out accuracy of a pruned run whose weights are shared, before and after its numbers have trained."""
    data, images, labels, preprocess = parts(run, spec)
    model = netsuke.share(netsuke.prune(load_run(run).module, sparsity=0.0), bits, start)
    before = accuracy(model.eval(), images, labels)
    augment = make_augment(Augmentation(**run.recipe.get("augment", {})), preprocess)
    recipe = Recipe(
        Model(run.model), epochs, optimizer=Optimizer("adamw", 2e-4), schedule=Schedule("cosine"), progressive="never"
    )
    fit(model, recipe, data, augment, fabric=make_fabric("cpu"))
    return {"before": before, "after": accuracy(model.eval(), images, labels)}


def table(results: dict[tuple[int, str], dict[str, Any]], bits: list[int]) -> str:
    lines = [
        "| bits | " + " | ".join(f"{start}, {when}" for when in ("shared", "trained") for start in STARTS) + " |",
        "| --- |" + " ---: |" * 2 * len(STARTS),
    ]
    for b in bits:
        row = [f"{results[b, start][when]:.2f}" for when in ("before", "after") for start in STARTS]
        lines.append(f"| {b} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def curves(run: Run, spec: str, path: Path) -> None:
    """Measure the sensitivity of a float run's layers, and draw it."""
    _, images, labels, _ = parts(run, spec)
    model: nn.Module = load_run(run).module
    found: Sensitivity = sensitivity(model, lambda pruned: accuracy(pruned, images, labels))
    atomic.write(path, svg(sensitivity_curves(found)))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--float", type=Path, required=True, dest="whole", help="folder of the float run")
    options.add_argument("--pruned", type=Path, required=True, help="folder of the pruned run")
    options.add_argument("--data", required=True, help="SPEC, as in mnist:PATH")
    options.add_argument("--out", type=Path, required=True, help="folder of the results")
    options.add_argument("--bits", default="1-6", help="FROM-TO")
    options.add_argument("--epochs", type=int, default=2, help="in which shared numbers train")
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    first, _, last = given.bits.partition("-")
    bits = list(range(int(first), int(last or first) + 1))
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        picture = given.out / "sensitivity.svg"
        if not picture.exists():
            curves(read_run(given.whole), given.data, picture)
        pruned = read_run(given.pruned)
        settings = {"pruned": pruned.recipe, "epochs": given.epochs}
        run_missing(
            [
                (
                    given.out / f"{b}-{start}",
                    f"{b} bits, {start}",
                    lambda b=b, start=start: share_and_train(pruned, given.data, b, start, given.epochs),
                )
                for b in bits
                for start in STARTS
            ],
            settings,
        )
        found = {(b, start): result_of(given.out / f"{b}-{start}", settings) or {} for b in bits for start in STARTS}
        atomic.write(given.out / "table.md", table(found, bits).encode())
        print(json.dumps({f"{b}-{start}": result for (b, start), result in found.items()}, indent=1))
    except Error as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
