"""Every binary network of the registry in the engine, against ONNX Runtime on its float counterpart.

One image, one thread; the candidates of a network take turns in one run. Random weights of seed 0: only times and
sizes are compared. Needs a machine that does nothing else, for a quarter of an hour or so.

    python -m benchmarks.binary_networks --out runs/binary-networks [--page docs/binary-networks.md] [--seconds 3]
    python -m benchmarks.binary_networks --out FOLDER --models adabin_resnet20 --runs 2

It may be killed at any time: started again, it goes on with the networks that are missing. OUT holds a folder for each
network and results.json. Of several runs, rows of one machine alone go into one table: OUT refuses another machine's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.networks import Files, Network
from benchmarks.plan import FLOAT_LAYERS, name
from benchmarks.plots import number
from benchmarks.racing import Contestant, Stage, run
from benchmarks.study import conclude, result_of, run_missing, table

from netsuke.artifact.contract import Error
from netsuke.cli.machine import cpu_name
from netsuke.models import get_model, list_models

RIVAL = "onnxruntime_f32"


def binary_networks() -> list[str]:
    """The registry's networks that have a float counterpart other than themselves."""
    return [model for model in list_models() if get_model(model).float_counterpart != model]


def measure(model: str, runs: int | None, seconds: float) -> dict[str, Any]:
    """Median milliseconds and bytes of one network's three files."""
    network = Network(model, get_model(model).input[1])
    with tempfile.TemporaryDirectory() as scratch:
        files = Files(Path(scratch))
        entered = [
            *(Contestant(name("netsuke", f), "netsuke", network, float_layers=f) for f in FLOAT_LAYERS),
            Contestant(RIVAL, RIVAL, network),
        ]
        raced = run(entered, Stage(files, None, runs, seconds))
        if raced["absent"]:
            raise Error(f"{model}: {'; '.join(raced['absent'].values())}")
        sizes = {name("netsuke", f): files.netsuke(network, f) for f in FLOAT_LAYERS} | {RIVAL: files.onnx(network, 1)}
        return {
            "size": network.size,
            "bytes": {which: path.stat().st_size for which, path in sizes.items()},
            "candidates": raced["candidates"],
        }


def study(out: Path, models: Sequence[str], runs: int | None, seconds: float) -> dict[str, Any]:
    """All of them, those that are there already as they are."""
    settings: dict[str, Any] = {"machine": cpu_name(), "runs": runs, "seconds": None if runs else seconds}
    run_missing([(out / m, m, lambda m=m: measure(m, runs, seconds)) for m in models], settings)
    return {**settings, "networks": {m: result_of(out / m, settings) for m in models}}


def page(found: dict[str, Any]) -> str:
    """The table as Markdown."""
    rows = [
        ["network", "input", "engine, ms", "ONNX Runtime float32, ms", "faster", "float layers in int8, ms", "faster",
         "file, MB", "float layers in int8, MB", "ONNX, MB", "smaller"],
    ]  # fmt: skip
    gains: dict[str, list[float]] = {which: [] for which in (name("netsuke", f) for f in FLOAT_LAYERS)}
    for model, result in found["networks"].items():
        ms = {which: entry["median_ms"] for which, entry in result["candidates"].items()}
        mb = {which: size / 1e6 for which, size in result["bytes"].items()}
        for which, seen in gains.items():
            seen.append(ms[RIVAL] / ms[which])
        rows.append(
            [f"`{model}`", f"{result['size']}x{result['size']}", number(ms["netsuke"]), number(ms[RIVAL]),
             f"{ms[RIVAL] / ms['netsuke']:.2f}x", number(ms["netsuke_int8"]), f"{ms[RIVAL] / ms['netsuke_int8']:.2f}x",
             f"{mb['netsuke']:.2f}", f"{mb['netsuke_int8']:.2f}", f"{mb[RIVAL]:.1f}",
             f"{mb[RIVAL] / mb['netsuke']:.1f}x"]
        )  # fmt: skip
    entries = [entry for result in found["networks"].values() for entry in result["candidates"].values()]
    isas = sorted({entry["isa"] for entry in entries if entry.get("isa")})
    each = f"{found['runs']} runs" if found["runs"] else f"{found['seconds']:g} seconds"
    missing = [model for model in binary_networks() if model not in found["networks"]]
    left_out = f" Not run: {', '.join(f'`{model}`' for model in missing)}." if missing else ""
    middle = ", ".join(f"{statistics.median(seen):.2f}x" for seen in gains.values())
    return (
        "# Binary networks in the engine\n\n"
        "Written by `python -m benchmarks.binary_networks`, never by hand.\n\n"
        "One image, one thread; the engine on the network's file (float layers in float32 and in int8) and ONNX "
        "Runtime on the float counterpart (the same network without binarizers, batch norm folded) take turns in one "
        f"run, {each} each. Medians. Machine: {found['machine']}; the engine ran as {', '.join(isas)}. Weights are "
        "random: only times and sizes are compared. MB is 10^6 bytes; `smaller` is the ONNX file's bytes over those "
        "of the file with float layers in float32.\n\n"
        f"{table(rows)}\n\nMedians of the two columns `faster`: {middle}.{left_out}\n"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, required=True, help="folder of results")
    options.add_argument("--models", nargs="+", default=binary_networks(), help="of the registry (default: all)")
    options.add_argument("--seconds", type=float, default=3.0, help="timed seconds of each candidate")
    options.add_argument("--runs", type=int, help="timed runs of each, instead of --seconds")
    options.add_argument("--page", type=Path, help="write the table there too")
    given = options.parse_args()
    try:
        if unknown := [m for m in given.models if m not in binary_networks()]:
            raise Error(f"--models {' '.join(unknown)}: no binary networks of the registry")
        conclude(study(given.out, given.models, given.runs, given.seconds), page, given.out, given.page)
    except Error as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
