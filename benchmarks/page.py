"""docs/benchmarks.md and its pictures, from the figures of one run of the suite."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.plots import number
from benchmarks.requirements import of_peak, requirements

NAMES = {
    "netsuke": "the engine, float layers in float32; `_int8`: float layers in int8; `@avx2`: held to AVX2",
    "torch_binary": "our module in eager PyTorch, where a bit is a float",
    "torch_float": "the float counterpart in eager PyTorch",
    "onnxruntime_f32": "the float counterpart in ONNX Runtime, all graph optimisations",
    "onnxruntime_int8": "the same, quantised by ONNX Runtime's tools (static, QDQ, weights per channel)",
    "openvino_f32": "the float counterpart in OpenVINO; `_bf16`: in bfloat16",
    "openvino_int8": "the float counterpart, quantised by NNCF's defaults; `@ISA`: `DNNL_MAX_CPU_ISA=ISA`",
    "larq_default": "Larq Compute Engine's BinaryResNet-E18 of its zoo, with its interpreter's defaults",
    "larq_indirect": "the same with its interpreter's indirect binary product and XNNPACK switched on",
    "published_layer": "AdaBin's layer in PyTorch, computing what its authors' code computes (`published_adabin.py`)",
}


def write_page(results: dict[str, Any], folder: Path) -> Path:
    """Write benchmarks.json, the pictures and benchmarks.md, each whole or not at all; return the page's path."""
    write(folder / "benchmarks.json", (json.dumps(results, indent=1) + "\n").encode())
    write(folder / "benchmarks-latency.svg", plots.svg(plots.latency(results["races"]["resnet18"])))
    write(folder / "benchmarks-growth.svg", plots.svg(plots.growth(results["growth"])))
    page = folder / "benchmarks.md"
    write(page, render(results).encode())
    return page


def write(path: Path, content: bytes) -> None:
    """Another process sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def render(results: dict[str, Any]) -> str:
    """The page as Markdown."""
    parts = [
        _head(results), _required(results), _tables(results), _growth(results["growth"]), _layers(results["layers"]),
        _method(results),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _head(results: dict[str, Any]) -> str:
    machine = results["machine"]
    return (
        "# Benchmarks\n\n"
        "Written by `make bench`, never by hand; the raw figures are in [benchmarks.json](benchmarks.json).\n\n"
        f"Machine: {machine['cpu']}, {machine['cores']} core(s), {', '.join(machine['features'])}; "
        f"{machine['system']}. Date: {results['date']}. The engine ran as "
        f"{results['races']['resnet18']['candidates']['netsuke']['isa']}. Medians; candidates take turns "
        "([Method](#method)). All weights are random: only time, size and memory are compared."
    )


def _required(results: dict[str, Any]) -> str:
    rows = [(r.what, r.bound, r.goal, r.value, r.verdict) for r in requirements(results)]
    return "## What is required\n\n" + table(("", "required", "goal", "measured", "verdict"), rows)


def _tables(results: dict[str, Any]) -> str:
    races, r18, r20 = results["races"], results["resnet18"], results["resnet20"]
    parts = [
        f"## AdaBin ResNet-18, {r18['size']}x{r18['size']}, one image, one thread\n\n"
        "![Median time of one image in every engine](benchmarks-latency.svg)\n\n" + _race(races["resnet18"]),
        f"## AdaBin ResNet-20, {r20['size']}x{r20['size']}, one image, one thread\n\n" + _race(races["resnet20"]),
    ]
    if "threads" in races:
        parts.append("## Two threads\n\nResNet-18, one image.\n\n" + _race(races["threads"], per_thread=True))
    parts.append(
        f"## A batch of {results['many']}\n\nResNet-18, one thread, time of an image.\n\n" + _race(races["batch"])
    )
    parts.append(_files(results))
    return "\n\n".join(parts)


def _race(race: dict[str, Any], per_thread: bool = False) -> str:
    """Every candidate; times are of one image."""
    entries = race["candidates"]
    own = {name: entry["median_ms"] / entry["batch"] for name, entry in entries.items()}
    base = {part: next(n for n in own if n == part or n.startswith(f"{part},")) for part in ("netsuke", "netsuke_int8")}
    rows = [
        (
            name, entry["precision"], number(own[name]), number(entry["min_ms"] / entry["batch"]), entry["runs"],
            *(f"{own[name] / own[base[part]]:.2f}" for part in base), entry.get("kernel") or entry.get("isa") or "",
        )
        for name, entry in entries.items()
    ]  # fmt: skip
    against = [f"over {base[part]}" for part in base]
    text = table(("", "precision", "median ms", "min ms", "runs", *against, "ran as"), rows, right=range(2, 7))
    reasons = dict.fromkeys(race["absent"].values())
    absent = {why: ", ".join(name for name, its in race["absent"].items() if its == why) for why in reasons}
    return text + "".join(f"\n\nDid not take part: {names} ({why})." for why, names in absent.items())


def _files(results: dict[str, Any]) -> str:
    loads, sizes = results["races"]["loading"]["candidates"], results["resnet18"]["bytes"]
    example = results["example"]
    resident = example.get("resident_bytes", {})
    rows = [
        (
            name, f"{sizes[name] / 1e6:.2f}", number(loads[name]["median_ms"]) if name in loads else "",
            f"{resident[name] / 1e6:.1f}" if name in resident else "",
        )
        for name in sizes
    ]  # fmt: skip
    head = ("", "file, MB", "loading, ms", "peak resident memory of the C example, MB")
    text = (
        "## Files, loading, memory\n\nResNet-18. Loading is from a file in the system's cache to a network that can "
        "run, the engine's library being loaded. 1 MB is 10^6 bytes.\n\n" + table(head, rows, right=range(1, 4))
    )
    if "absent" in example:
        return f"{text}\n\nThe C example was not measured: {example['absent']}"
    return f"{text}\n\nThe C example with the engine in it, stripped: {example['program_bytes'] / 1e6:.2f} MB."


def _growth(growth: dict[str, Any]) -> str:
    parts = [
        "## How latency grows\n\nResNet-18; what is not varied is as in the first table. Each point is a race of "
        "its own.\n\n"
        "![Time of an image against size, width, batch and threads](benchmarks-growth.svg)"
    ]
    for what, label in plots.PANELS.items():
        names = list(dict.fromkeys(name for point in growth[what] for name in point["candidates"]))
        rows = []
        for point in growth[what]:
            entries = point["candidates"]
            times = {n: entries[n]["median_ms"] / entries[n]["batch"] for n in names if n in entries}
            rows.append((point["x"], *(number(times[n]) if n in times else "" for n in names)))
        parts.append(table((label, *(f"{n}, ms an image" for n in names)), rows, right=range(1, 1 + len(names))))
    return "\n\n".join(parts)


def _layers(layers: dict[str, Any]) -> str:
    parts = ["## Node by node"]
    for float_layers, result in layers.items():
        peak = ", ".join(f"{kind.removesuffix('_gmacs')} {rate:.0f}" for kind, rate in result["peak"].items())
        together, _ = of_peak(result)
        rows = [
            (
                node["name"], node["op"], f"{node['us']:.1f}", f"{100 * node['share']:.1f}",
                f"{node['gmacs']:.0f}" if node["gmacs"] else "",
                f"{100 * node['of_peak']:.0f}" if node["of_peak"] else "",
            )
            for node in result["layers"]
        ]  # fmt: skip
        head = ("node", "operator", "us", "share %", "GMAC/s", "% of bare loop")
        parts.append(
            f"ResNet-18, float layers in {float_layers}, {result['isa']}, one thread. Bare loops, in GMAC/s: {peak}; "
            f"the binary convolutions together reach {100 * (together or 0):.0f} % of theirs.\n\n"
            + table(head, rows, right=range(2, 6))
        )
    return "\n\n".join(parts)


def _method(results: dict[str, Any]) -> str:
    versions = {}
    for race in results["races"].values():
        for name, entry in race["candidates"].items():
            if name == "published_layer":  # a form of torch's
                continue
            versions[name.partition("_")[0].partition("@")[0].partition(",")[0]] = entry["version"]
    each = (
        f"{results['runs_each']} runs" if results["runs_each"] is not None else f"{results['seconds_each']:g} seconds"
    )
    return (
        "## Method\n\n"
        "Each candidate is a process of its own, pinned to one core a thread. Only one runs at a time; they take short "
        "turns in rotating order, so that a change of clock speed meets all alike. A run before each turn is not "
        f"timed, and a warm-up before the first. Each has {each} of timed runs in each race. Tables give medians; a "
        "figure may be compared within its table only. `ran as` is the engine's instruction set, or OpenVINO's own "
        "name of the kernel that runs most convolutions. The bare loop is a convolution's inner step on registers "
        "alone; it is measured before, between and after the layers.\n\n"
        + "\n".join(f"* `{name}`: {what}" for name, what in NAMES.items())
        + "\n\nVersions: "
        + ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        + f"; Python {results['python']}. The run took {results['minutes']:.0f} minutes.\n\n"
        "```\nmake setup\nmake bench\n```"
    )


def table(head: Iterable[object], rows: Iterable[Iterable[object]], right: Iterable[int] = ()) -> str:
    """A Markdown table; the columns in `right` are numbers."""
    titles, numbers = [str(title) for title in head], set(right)
    rule = ["---:" if column in numbers else "---" for column in range(len(titles))]
    lines = [titles, rule, *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
