"""Everything that docs/benchmarks.md shows, measured in one go on this machine, and that page.

Random weights of seed 0: only times, sizes and memory are measured. Takes about half an hour; needs a machine that
does nothing else.

    python -m benchmarks.suite [--out docs] [--seconds 3] [--no-larq]
    python -m benchmarks.suite --quick --out FOLDER      everything once, tiny, to see that it works
    python -m benchmarks.suite --render --out docs       the page anew from the figures in benchmarks.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import plan as plans
from benchmarks.larq_environment import Larq
from benchmarks.memory import compile_example, peak_resident_bytes
from benchmarks.networks import Files, Network
from benchmarks.page import write_page
from benchmarks.plan import FLOAT_LAYERS, Plan
from benchmarks.racing import Contestant, Stage, run

from netsuke.artifact.contract import Error
from netsuke.cli.machine import cpu_flags, cpu_name
from netsuke.cli.output import remark

ROOT = Path(__file__).resolve().parents[1]
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_vpopcntdq", "avx512_bf16", "amx_int8", "amx_bf16", "asimd")
Say = Callable[[str], None]


def measure(plan: Plan, stage: Stage, say: Say, library: Path | None = None) -> dict[str, Any]:
    """All figures, as one JSON object. library: the engine for the C example, by default what `make setup` built."""
    started = time.perf_counter()
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "machine": {
            "cpu": cpu_name(),
            "cores": len(os.sched_getaffinity(0)),
            "features": [feature for feature in FEATURES if feature in cpu_flags()],
            "system": f"{platform.system()} {platform.release()}",
        },
        "python": platform.python_version(),
        "seconds_each": stage.seconds if stage.runs is None else None,
        "runs_each": stage.runs,
        "resnet18": network_facts(plan.resnet18, stage.files),
        "resnet20": network_facts(plan.resnet20, stage.files),
        "many": plan.many,
        "races": races(plan, stage, say),
    }
    say("node by node")
    results["layers"] = {f: layers(stage.files.netsuke(plan.resnet18, f), stage) for f in FLOAT_LAYERS}
    say("memory of the C example")
    results["example"] = example(plan.resnet18, stage.files, library)
    results["growth"] = growth(plan, stage, say)
    results["minutes"] = (time.perf_counter() - started) / 60
    return results


def races(plan: Plan, stage: Stage, say: Say) -> dict[str, Any]:
    """The races of the tables."""
    r18, r20 = plan.resnet18, plan.resnet20
    entered: dict[str, list[Contestant]] = {
        "resnet18": [*plans.against_all(r18), *plans.larq(r18)],
        "resnet20": [*plans.against_all(r20), *plans.published_layer(r20)],
        "batch": [c for n in (1, plan.many) for c in plans.with_batch(plans.few(r18), n)],
        "loading": plans.loading(r18),
    }
    if 2 in plan.threads:
        entered["threads"] = [c for n in (1, 2) for c in plans.with_threads(plans.few(r18), n)]
    results = {}
    for name, contestants in entered.items():
        say(f"race: {name}")
        results[name] = run(contestants, stage)
    return results


def growth(plan: Plan, stage: Stage, say: Say) -> dict[str, Any]:
    """For each of size, width, batch and threads: the points [{x, candidates, absent}]; the rest is as in resnet18."""
    base = plan.resnet18
    points: dict[str, list[tuple[int, list[Contestant]]]] = {
        "size": [(n, plans.few(replace(base, size=n))) for n in plan.sizes],
        "width": [(n, plans.few(replace(base, width=n))) for n in plan.widths],
        "batch": [(n, [replace(c, batch=n) for c in plans.few(base)]) for n in plan.batches],
        "threads": [(n, [replace(c, threads=n) for c in plans.few(base)]) for n in plan.threads],
    }
    results: dict[str, Any] = {}
    for what, each in points.items():
        results[what] = []
        for x, contestants in each:
            say(f"growth: {what} {x}")
            results[what].append({"x": x, **run(contestants, stage)})
    return results


def layers(file: Path, stage: Stage) -> dict[str, Any]:
    """What `netsuke bench --layers` says of a file, in a process of its own."""
    runs = ["--runs", str(stage.runs)] if stage.runs is not None else []
    command = [sys.executable, "-m", "netsuke", "bench", str(file), "--layers", "--json", *runs]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Error(f"netsuke bench --layers failed: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout)


def network_facts(network: Network, files: Files) -> dict[str, Any]:
    """What it is, and the bytes of its files."""
    openvino = files.int8(network, 1, "openvino_int8")
    return {
        "model": network.model,
        "size": network.size,
        "width": network.width,
        "bytes": {
            **{plans.name("netsuke", f): files.netsuke(network, f).stat().st_size for f in FLOAT_LAYERS},
            "onnxruntime_f32": files.onnx(network, 1).stat().st_size,
            "openvino_int8": openvino.stat().st_size + openvino.with_suffix(".bin").stat().st_size,
        },
    }


def example(network: Network, files: Files, library: Path | None) -> dict[str, Any]:
    """Bytes of the stripped C example, engine included, and its peak resident bytes on each file; or why not."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            program = compile_example(Path(scratch), library)
            return {
                "program_bytes": program.stat().st_size,
                "resident_bytes": {
                    plans.name("netsuke", f): peak_resident_bytes(program, files.netsuke(network, f), network.size)
                    for f in FLOAT_LAYERS
                },
            }
        except Error as error:
            return {"absent": str(error)}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the page (default: docs)")
    options.add_argument("--seconds", type=float, default=3.0, help="timed seconds of each contestant of each race")
    options.add_argument("--quick", action="store_true", help="a tiny run; needs --out")
    options.add_argument("--no-larq", action="store_true", help="without Larq Compute Engine")
    options.add_argument("--library", type=Path, help="libnetsuke_engine.a for the C example, if not make setup's")
    options.add_argument("--render", action="store_true", help="only write the page again")
    chosen = options.parse_args()
    if chosen.quick and chosen.out == ROOT / "docs":
        options.error("--quick measures nothing worth keeping: give it a folder with --out")
    if not chosen.out.is_dir():
        options.error(f"there is no folder {chosen.out}")
    try:
        if chosen.render:
            results = json.loads((chosen.out / "benchmarks.json").read_text())
        else:
            with tempfile.TemporaryDirectory() as scratch:
                larq = None if chosen.quick or chosen.no_larq else Larq(ROOT / "build" / "larq")
                stage = Stage(Files(Path(scratch)), larq, 2 if chosen.quick else None, chosen.seconds)
                plan = plans.quick() if chosen.quick else plans.full()
                results = measure(plan, stage, remark, chosen.library)
        page = write_page(results, chosen.out)
    except (Error, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
