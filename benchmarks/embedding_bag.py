"""How fast are look-ups in a one-bit embedding table, and how small is it?

The table is that of a synthetic DLRM (Naumov et al. 2019): by default a million rows of 64, random weights, bags of
32 indices, uniform over the rows, which is the worst case for caches. The candidates are torch.nn.EmbeddingBag over
the float weights (256 MB), the same table in a `.netsuke` file looked up in the engine, and in numpy. They take turns
in one process on one core, in another order each turn, all with the same fresh indices; the figures are medians of
whole calls. Sums of the engine and of numpy are compared with those of the binary module in PyTorch.

    python benchmarks/embedding_bag.py [--rows 1000000] [--columns 64] [--bag 32] [--batch 2048] [--runs 31]
                                       [--isa NAME] [--file FILE] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netsuke.cli.machine import cores_for, cpu_name
from netsuke.engine import load_embeddings
from netsuke.lowering import export_embeddings
from netsuke.models import dlrm

DENSE_FEATURES = 13  # as in the Criteo data
WARM_UP = 3
LookUp = Callable[[np.ndarray, np.ndarray], Any]


def candidates(rows: int, columns: int, isa: str | None, file: Path) -> tuple[dict[str, LookUp], nn.Module, str]:
    """What takes turns, by name; the binary module; and the engine's instruction set. Writes the file."""
    torch.manual_seed(0)
    layer = dlrm(DENSE_FEATURES, [rows], columns, binary=True, sparse=True).eval().tables[0]
    export_embeddings(layer, file, "dlrm")
    real = nn.EmbeddingBag(rows, columns, mode="sum", _weight=layer.weight.detach()).eval()
    engine, plain = (load_embeddings(file, name)["table"] for name in (isa, "numpy"))

    def in_torch(indices: np.ndarray, offsets: np.ndarray) -> Tensor:
        return real(torch.from_numpy(indices), torch.from_numpy(offsets))

    return {"torch_float": in_torch, "netsuke": engine, "netsuke_numpy": plain}, layer, engine.isa


def measure(
    looking_up: dict[str, LookUp], binary: nn.Module, batch: int, bag: int, runs: int
) -> tuple[dict[str, list[float]], float]:
    """Seconds of each call by candidate, and the largest difference between a binary candidate and the module."""
    rng, order = np.random.default_rng(0), random.Random(0)
    offsets = np.arange(batch) * bag
    taken: dict[str, list[float]] = {name: [] for name in looking_up}
    difference = 0.0
    for turn in range(WARM_UP + runs):
        indices = rng.integers(0, binary.num_embeddings, batch * bag)
        for name in order.sample(list(looking_up), len(looking_up)):
            begun = time.perf_counter()
            sums = looking_up[name](indices, offsets)
            if turn >= WARM_UP:
                taken[name].append(time.perf_counter() - begun)
            if turn == 0 and name != "torch_float":
                expected = binary(torch.from_numpy(indices), torch.from_numpy(offsets)).numpy()
                difference = max(difference, float(np.abs(sums - expected).max()))
    return taken, difference


def run(rows: int, columns: int, bag: int, batch: int, runs: int, isa: str | None, file: Path) -> dict[str, Any]:
    """The whole measurement, as `--json` prints it."""
    with torch.inference_mode():
        looking_up, binary, used = candidates(rows, columns, isa, file)
        taken, difference = measure(looking_up, binary, batch, bag, runs)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    return {
        "machine": cpu_name(),
        "isa": used,
        "threads": 1,
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "rows": rows,
        "columns": columns,
        "bag": bag,
        "batch": batch,
        "runs": runs,
        "float_bytes": 4 * rows * columns,
        "file_bytes": file.stat().st_size,
        "times_smaller": 4 * rows * columns / file.stat().st_size,
        "differs_by": difference,
        "candidates": {
            name: {
                "median_ms": 1e3 * medians[name],
                "min_ms": 1e3 * min(times),
                "rows_per_second": batch * bag / medians[name],
                "ratio": medians["torch_float"] / medians[name],
            }
            for name, times in taken.items()
        },
    }


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    names = {
        "torch_float": f"torch.nn.EmbeddingBag {result['versions']['torch']}, float32",
        "netsuke": f"netsuke, {result['isa']}",
        "netsuke_numpy": f"netsuke in numpy {result['versions']['numpy']}",
    }
    lines = [
        f"{result['machine']}, one thread, {result['rows']:,} rows of {result['columns']}, {result['batch']:,} bags of "
        f"{result['bag']} uniform random indices, medians of {result['runs']} runs.",
        "",
        "| look-ups | ms a batch | fastest, ms | million rows a second | times as fast |",
        "| --- " * 5 + "|",
    ]
    for name, of in result["candidates"].items():
        figures = f"{of['median_ms']:.3f} | {of['min_ms']:.3f} | {of['rows_per_second'] / 1e6:.1f} | {of['ratio']:.2f}"
        lines.append(f"| {names[name]} | {figures} |")
    return "\n".join(
        [
            *lines,
            "",
            f"The float table has {result['float_bytes']:,} bytes, the file {result['file_bytes']:,}: "
            f"{result['times_smaller']:.2f} times smaller. Sums differ from those of the module in PyTorch by at most "
            f"{result['differs_by']:g}.",
        ]
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--columns", type=int, default=64)
    options.add_argument("--bag", type=int, default=32, help="indices in a bag")
    options.add_argument("--batch", type=int, default=2048, help="bags of a call")
    options.add_argument("--runs", type=int, default=31, help="timed ones of each")
    options.add_argument("--isa", help="by default the machine's")
    options.add_argument("--file", type=Path, help="where to keep the file")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    os.sched_setaffinity(0, cores_for(1))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        file = chosen.file or Path(temporary) / "tables.netsuke"
        result = run(chosen.rows, chosen.columns, chosen.bag, chosen.batch, chosen.runs, chosen.isa, file)
    print(json.dumps(result) if chosen.json else table(result))


if __name__ == "__main__":
    main()
