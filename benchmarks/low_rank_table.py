"""What the ways of splitting a network cost it before fine-tuning: the table of Zhang et al. 2016.

For each reconstruction of netsuke.low_rank and each speed-up, how many per cent more of the images are wrong than by
the float network. Measured on training images held out of the calibration (with --split test on the test images: look
at these once, when nothing is to be chosen any more).

    python -m benchmarks.low_rank_table --model vgg_small --weights runs/vgg/model.safetensors \
        --data cifar10:../shared/data/cifar-10-batches-bin --out runs/low-rank-table [--threads 1]

It may be killed at any time: started again it goes on where it was. OUT holds a folder for each entry, with its ranks,
and results.json and table.md, which is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.study import measure, result_of, run_missing, table
from torch import Tensor, nn

import netsuke
from netsuke import Error, Preprocess, atomic
from netsuke.data import Dataset, holdout, normalise, open_dataset
from netsuke.methods import RECONSTRUCTIONS
from netsuke.models import create_model, get_model, load_weights

NAMES = {"linear": "linear", "nonlinear": "nonlinear", "asymmetric": "asymmetric", "3d": "asymmetric (3d)"}


@dataclass(frozen=True)
class Plan:
    """spec: of the data. images: that the layers are fitted on. held_out: training images that are measured on, and
    held out whatever `split` says."""

    spec: str
    model: str
    weights: str
    out: Path
    speedups: tuple[float, ...] = (2.0, 3.0, 4.0)
    images: int = 3000
    held_out: int = 5000
    split: str = "train"
    seed: int = 0

    def settings(self) -> dict[str, Any]:
        """What an entry depends on, but the data and the machine."""
        return {k: v for k, v in asdict(self).items() if k not in ("spec", "out", "speedups")}

    @cached_property
    def preprocess(self) -> Preprocess:
        return Preprocess(**get_model(self.model).preprocess)

    @cached_property
    def data(self) -> tuple[Dataset, Dataset]:
        """What is fitted on, and what is measured on."""
        channels = get_model(self.model).input[0]
        rest, held_out = holdout(
            open_dataset(self.spec, "train", self.preprocess, channels=channels), self.held_out, self.seed
        )
        if self.split == "test":
            held_out = open_dataset(self.spec, "test", self.preprocess, channels=channels)
        return rest, held_out

    @cached_property
    def calibration(self) -> Tensor:
        images = np.concatenate([images for images, _ in self.data[0].batches(256, self.images)])
        return torch.from_numpy(normalise(images, self.preprocess))

    def network(self) -> nn.Module:
        return load_weights(create_model(self.model, num_classes=self.data[0].num_classes), self.weights).eval()

    def folder(self, reconstruction: str, speedup: float) -> Path:
        return self.out / f"{reconstruction}-{speedup:g}"


def entry(plan: Plan, reconstruction: str, speedup: float) -> dict[str, Any]:
    """One number of the table: the network split, and measured as it is."""
    made: Any = netsuke.low_rank(
        plan.network(), plan.calibration, speedup, reconstruction, seed=plan.seed,
        progress=lambda name: print(f"  {name}", file=sys.stderr, flush=True),
    )  # fmt: skip
    report = made.netsuke_report
    return {
        **measure(made, plan.data[1], plan.preprocess),
        "speedup": report.speedup,
        "ranks": report.ranks,
        "layers": [asdict(layer) for layer in report.layers],
    }


def run(plan: Plan) -> dict[str, Any]:
    """All entries, those that are there already as they are."""
    if plan.split not in ("train", "test"):
        raise Error(f"--split {plan.split}: choose train or test")
    entries = [(r, s, plan.folder(r, s)) for s in plan.speedups for r in RECONSTRUCTIONS]
    float_folder = plan.out / "float"
    jobs = [
        (float_folder, "the float network", lambda: measure(plan.network(), plan.data[1], plan.preprocess)),
        *((where, f"{r}, {s:g} times", lambda r=r, s=s: entry(plan, r, s)) for r, s, where in entries),
    ]
    run_missing(jobs, plan.settings())
    before = result_of(float_folder, plan.settings())
    assert before is not None
    found: dict[str, Any] = {
        **plan.settings(),
        "data": plan.spec,
        "n": len(plan.data[1]),
        "top1": before["top1"],
        "increase": {r: {} for r in RECONSTRUCTIONS},
        "counted_speedup": {r: {} for r in RECONSTRUCTIONS},
    }
    for r, s, where in entries:
        made = result_of(where, plan.settings())
        assert made is not None
        found["increase"][r][f"{s:g}"] = round(before["top1"] - made["top1"], 3)
        found["counted_speedup"][r][f"{s:g}"] = round(made["speedup"], 3)
    atomic.write(plan.out / "results.json", (json.dumps(found, indent=1) + "\n").encode())
    atomic.write(plan.out / "table.md", (page(found) + "\n").encode())
    return found


def page(found: dict[str, Any]) -> str:
    """The table as Markdown."""
    increase = found["increase"]
    speedups = list(next(iter(increase.values())))
    rows = [["increase of top-1 error, points", *(f"{s}x" for s in speedups)]]
    rows += [[NAMES[r], *(f"{increase[r][s]:.2f}" for s in speedups)] for r in increase]
    where = "test images" if found["split"] == "test" else "held-out training images"
    return (
        f"{table(rows)}\n\n{found['model']} before fine-tuning; the float network has {100 - found['top1']:.2f} % of "
        f"{found['n']:,} {where} wrong. Fitted on {found['images']:,} training images."
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", required=True, help="of the registry")
    options.add_argument("--weights", required=True, help="its checkpoint")
    options.add_argument("--data", required=True, help="SPEC, as in cifar10:PATH")
    options.add_argument("--out", type=Path, required=True, help="folder of results")
    options.add_argument("--speedups", type=float, nargs="+", default=list(Plan.speedups))
    options.add_argument("--images", type=int, default=Plan.images, help="that the layers are fitted on")
    options.add_argument("--held-out", type=int, default=Plan.held_out, help="training images to measure on")
    options.add_argument("--split", default=Plan.split, help="train: the held-out images; test: the test images")
    options.add_argument("--seed", type=int, default=Plan.seed)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--json", action="store_true", help="print the JSON and not the table")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    plan = Plan(given.data, given.model, given.weights, given.out)
    plan = replace(
        plan, speedups=tuple(given.speedups), images=given.images, held_out=given.held_out, split=given.split,
        seed=given.seed,
    )  # fmt: skip
    try:
        found = run(plan)
    except Error as error:
        sys.exit(f"error: {error}")
    print(json.dumps(found, indent=1) if given.json else page(found))


if __name__ == "__main__":
    main()
