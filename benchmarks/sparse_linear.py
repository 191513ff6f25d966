"""How much faster does a pruned linear layer run from its sparse form than from its dense one?

The layers are AlexNet's fc6 and fc7 with 9 % of their weights and fc8 with 25 % (Han, Pool, Tran and Dally 2015,
Learning both Weights and Connections for Efficient Neural Networks, table 4), at random places, each a `.netsuke` file;
beside each lies one without zeros, which the engine runs dense. All take turns in one process, so that each finds the
weights of the others in the caches, as in a network; the figures are medians of whole calls. The energy is an estimate
(netsuke.analyze.energy): weights from DRAM; on chip, a read of the input for every weight that the sparse form holds
(dense, for every 64 weights), and the result.

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
WARM_UP = 3
MILLIJOULE = 1e-9  # a picojoule
OUTPUTS_AT_ONCE = 64  # what the dense form computes of one read of the input


def build(folder: Path, smaller: int = 1) -> dict[str, dict[str, Path]]:
    """The files, dense and sparse, by layer; those that lie in the folder are taken as they are.

    smaller: what the extents are divided by.
    """
    files: dict[str, dict[str, Path]] = {}
    for seed, (name, (inputs, outputs, density)) in enumerate(LAYERS.items()):
        shape = (outputs // smaller, 1, 1, inputs // smaller)
        for form, share in {"dense": 1.0, "sparse": density}.items():
            path = folder / f"{name}_{form}.netsuke"
            files.setdefault(name, {})[form] = path
            if path.exists():
                continue
            rng = np.random.default_rng(seed)
            weight = rng.uniform(0.01, 0.1, shape).astype(np.float32) * rng.choice(np.float32([-1, 1]), shape)
            weight[rng.random(shape) >= share] = 0
            node = Conv2d(name, [0], [Store(1)], weight=weight, bias=np.zeros(shape[0], np.float32))
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
    sparse = 0 in engine.sparse_nodes
    held = engine.sparse_nodes[0] if sparse else inputs * outputs
    size = held * (6 if sparse else 4)
    reads = held if sparse else inputs * -(-outputs // OUTPUTS_AT_ONCE)
    return {
        "runs": "sparse" if sparse else "dense",
        "weights_held": held,
        "weight_bytes": size,
        "dram_millijoule": size * 8 * DRAM * MILLIJOULE,
        "sram_millijoule": (reads + outputs) * 32 * SRAM_1MB * MILLIJOULE,
        "compute_millijoule": held * FLOAT_MAC * MILLIJOULE,
    }


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"{result['machine']}, {result['isa']}, {result['threads']} thread(s), medians of {result['runs']} runs.",
        "",
        "| layer | density | batch | dense, ms | sparse, ms | dense / sparse |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, layer in result["layers"].items():
        for batch, times in layer["batches"].items():
            figures = f"{times['dense_ms']:.2f} | {times['sparse_ms']:.2f} | {times['ratio']:.2f}"
            lines.append(
                f"| {name} {layer['inputs']} x {layer['outputs']} | {layer['density']:.0%} | {batch} | {figures} |"
            )
    lines += [
        "",
        "| layer | form | weights held | MB | DRAM, mJ an image | SRAM, mJ | arithmetic, mJ |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, layer in result["layers"].items():
        for form in ("dense", "sparse"):
            of = layer[form]
            energy = " | ".join(f"{of[f'{part}_millijoule']:.3f}" for part in ("dram", "sram", "compute"))
            lines.append(
                f"| {name} | {of['runs']} | {of['weights_held']:,} | {of['weight_bytes'] / 1e6:.1f} | {energy} |"
            )
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
            dense, sparse = medians[name, "dense"], medians[name, "sparse"]
            layer["batches"][batch] = {"dense_ms": 1e3 * dense, "sparse_ms": 1e3 * sparse, "ratio": dense / sparse}
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
