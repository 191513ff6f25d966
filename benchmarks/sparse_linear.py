"""How much faster does a pruned or a ternary linear layer run than a dense one?

The layers are AlexNet's fc6 and fc7 with 9 % of their weights and fc8 with 25 % (Han, Pool, Tran and Dally 2015,
Learning both Weights and Connections for Efficient Neural Networks, table 4), at random places, each a `.netsuke` file;
beside each lies one without zeros, which the engine runs dense, and two with ternary weights, half of them 0,
the second with a scale by output. All take turns in one process, so that each finds the weights of the others in the
caches, as in a network; the figures are medians of whole calls. The energy is an estimate (netsuke.analyze.energy):
weights from DRAM; on chip, a read of the input for every weight that the sparse form holds (of the other forms, for
every 64 weights), and the result.

    python benchmarks/sparse_linear.py [--threads 1] [--batches 1 4] [--runs 15] [--isa NAME] [--files FOLDER]
                                       [--page FILE] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from netsuke.analyze.energy import DRAM, FLOAT_MAC, SOURCE, SRAM_1MB
from netsuke.artifact import Graph, save
from netsuke.artifact.graph import Conv2d, Output, Store
from netsuke.cli.machine import cores_for, cpu_name
from netsuke.engine import Engine, load

LAYERS = {"fc6": (9216, 4096, 0.09), "fc7": (4096, 4096, 0.09), "fc8": (4096, 1000, 0.25)}  # inputs, outputs, density
FORMS = ("dense", "sparse", "ternary", "scaled")
WARM_UP = 3
MILLIJOULE = 1e-9  # a picojoule
OUTPUTS_AT_ONCE = 64  # what the dense form computes of one read of the input


def build(folder: Path, smaller: int = 1) -> dict[str, dict[str, Path]]:
    """The files by layer and form; those that lie in the folder are taken as they are.

    smaller: what the extents are divided by.
    """
    files: dict[str, dict[str, Path]] = {}
    for seed, (name, (inputs, outputs, density)) in enumerate(LAYERS.items()):
        shape = (outputs // smaller, 1, 1, inputs // smaller)
        for form in FORMS:
            path = folder / f"{name}_{form}.netsuke"
            files.setdefault(name, {})[form] = path
            if path.exists():
                continue
            rng = np.random.default_rng(seed)
            if form in ("ternary", "scaled"):
                weight = rng.choice(np.float32([-0.07, 0, 0, 0.05]), shape)
            else:
                weight = rng.uniform(0.01, 0.1, shape).astype(np.float32) * rng.choice(np.float32([-1, 1]), shape)
            if form == "sparse":
                weight[rng.random(shape) >= density] = 0
            scale = rng.uniform(0.5, 2, shape[0]).astype(np.float32) if form == "scaled" else None
            bias = np.zeros(shape[0], np.float32)
            node = Conv2d(name, [0], [Store(1)], weight=weight, weight_scale=scale, bias=bias)
            save(Graph(f"{name} {form}", (shape[3], 1, 1), [node], [Output(1, 2)]), path)
    return files


def measure(engines: dict[tuple[str, str], Engine], batch: int, runs: int) -> dict[tuple[str, str], float]:
    """Medians in seconds a call."""
    rng = np.random.default_rng(0)
    images = {key: rng.random((batch, *engine.input_shape), np.float32) for key, engine in engines.items()}
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in engines}
    for turn in range(WARM_UP + runs):
        for key, engine in engines.items():
            begun = time.perf_counter()
            engine(images[key])
            if turn >= WARM_UP:
                taken[key].append(time.perf_counter() - begun)
    return {key: statistics.median(times) for key, times in taken.items()}


def describe(engine: Engine, inputs: int, outputs: int) -> dict[str, Any]:
    """What one form of a layer holds, and the energy of one image in millijoules."""
    runs = "sparse" if 0 in engine.sparse_nodes else "codebook" if 0 in engine.codebook_nodes else "dense"
    held = engine.sparse_nodes[0] if runs == "sparse" else inputs * outputs
    size = held * {"sparse": 48, "codebook": 2, "dense": 32}[runs] // 8
    reads = held if runs == "sparse" else inputs * -(-outputs // OUTPUTS_AT_ONCE)
    return {
        "runs": runs,
        "weights_held": held,
        "weight_bytes": size,
        "dram_millijoule": size * 8 * DRAM * MILLIJOULE,
        "sram_millijoule": (reads + outputs) * 32 * SRAM_1MB * MILLIJOULE,
        "compute_millijoule": held * FLOAT_MAC * MILLIJOULE,
    }


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    columns = [f"{form}, ms" for form in FORMS] + [f"dense / {form}" for form in FORMS[1:]]
    lines = [
        f"{result['machine']}, {result['isa']}, {result['threads']} thread(s), medians of {result['runs']} runs.",
        "",
        f"| layer | density | batch | {' | '.join(columns)} |",
        "| --- " * (3 + len(columns)) + "|",
    ]
    for name, layer in result["layers"].items():
        for batch, times in layer["batches"].items():
            numbers = [times[f"{form}_ms"] for form in FORMS] + [times[f"dense_to_{form}"] for form in FORMS[1:]]
            figures = " | ".join(f"{number:.2f}" for number in numbers)
            lines.append(
                f"| {name} {layer['inputs']} x {layer['outputs']} | {layer['density']:.0%} | {batch} | {figures} |"
            )
    lines += [
        "",
        "| layer | form | weights held | MB | DRAM, mJ an image | SRAM, mJ | arithmetic, mJ |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, layer in result["layers"].items():
        for form in FORMS:
            of = layer[form]
            energy = " | ".join(f"{of[f'{part}_millijoule']:.3f}" for part in ("dram", "sram", "compute"))
            held = f"{of['weights_held']:,} | {of['weight_bytes'] / 1e6:.1f}"
            lines.append(f"| {name} | {form}, runs {of['runs']} | {held} | {energy} |")
    return "\n".join([*lines, "", f"Energy: an estimate from {SOURCE}.", ""])


def run(folder: Path, threads: int, batches: list[int], runs: int, isa: str | None, smaller: int = 1) -> dict[str, Any]:
    """The whole measurement, as `--json` prints it."""
    files = build(folder, smaller)
    engines = {
        (name, form): load(path, threads=threads, isa=isa)
        for name, forms in files.items()
        for form, path in forms.items()
    }
    layers: dict[str, Any] = {}
    for name, (inputs, outputs, density) in LAYERS.items():
        extents = {"inputs": inputs // smaller, "outputs": outputs // smaller}
        forms = {form: describe(engines[name, form], **extents) for form in files[name]}
        layers[name] = {**extents, "density": density, **forms, "batches": {}}
    for batch in batches:
        medians = measure(engines, batch, runs)
        for name, layer in layers.items():
            taken = {form: medians[name, form] for form in FORMS}
            layer["batches"][batch] = {f"{form}_ms": 1e3 * taken[form] for form in FORMS}
            layer["batches"][batch] |= {f"dense_to_{form}": taken["dense"] / taken[form] for form in FORMS[1:]}
    first = next(iter(engines.values()))
    return {"machine": cpu_name(), "isa": first.isa, "threads": threads, "runs": runs, "layers": layers}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    options.add_argument("--runs", type=int, default=15, help="timed ones of each")
    options.add_argument("--isa", help="by default the machine's")
    options.add_argument("--files", type=Path, help="where the files are kept, to be used again")
    options.add_argument("--page", type=Path, help="where to write the tables")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    os.sched_setaffinity(0, cores_for(chosen.threads))
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.files or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = run(folder, chosen.threads, chosen.batches, chosen.runs, chosen.isa)
    if chosen.page:
        chosen.page.write_text(table(result))
    print(json.dumps(result) if chosen.json else table(result))


if __name__ == "__main__":
    main()
