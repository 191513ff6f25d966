"""`netsuke compare`: recipes run, and their files side by side: accuracy, bytes, latency, energy."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netsuke import artifact, atomic
from netsuke.artifact.contract import Error
from netsuke.artifact.graph import BinaryConv2d, Graph
from netsuke.cli.bench import summary
from netsuke.cli.detector import Detector
from netsuke.cli.evaluate import accuracy, from_file
from netsuke.cli.export import export_run
from netsuke.cli.machine import cores_for, cpu_name
from netsuke.cli.options import choice, count
from netsuke.cli.options import seconds as at_least
from netsuke.cli.output import JsonOption, emit, remark, require, show, stderr_console, table, training_bars
from netsuke.cli.race import Request, race_processes
from netsuke.cli.train import DEVICES
from netsuke.data import open_dataset
from netsuke.onnx import check_installed, export_onnx

if TYPE_CHECKING:
    from netsuke.train import Progress as Where
    from netsuke.train import Recipe

MILLIJOULE = 1e9  # picojoules
HEAD = ("network", "top-1, %", "bytes", "smaller", "ms", "faster", "ONNX Runtime, ms", "energy, mJ")
COSTS = {"bytes": "bytes of the file", "median_ms": "ms an image, in the engine", "energy_millijoule": "energy, mJ"}


@dataclass
class Entry:
    """recipe: None for a file that is there already."""

    name: str
    file: Path
    recipe: Recipe | None = None


def compare(
    recipes: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE...",
            help="Recipes of the package, TOML files or .netsuke files; the others are compared with the first.",
        ),
    ],
    data: Annotated[str, typer.Option(metavar="SPEC", help="The data set: cifar10:PATH, mnist:PATH, ...")],
    out: Annotated[Path, typer.Option(help="The folder to work in; the same command again goes on from there.")],
    threads: Annotated[
        int, typer.Option(parser=count("--threads"), metavar="N", help="Threads of the networks that are timed.")
    ] = 1,
    seconds: Annotated[
        float, typer.Option(parser=at_least("--seconds", 0.01), metavar="S", help="Timed seconds of each.")
    ] = 3.0,
    onnx: Annotated[
        bool, typer.Option("--onnx/--no-onnx", help="Time the same files in ONNX Runtime too, where ONNX has them.")
    ] = True,
    device: Annotated[
        str, typer.Option(parser=choice("--device", *DEVICES), metavar="|".join(DEVICES), help="Where to train.")
    ] = "auto",
    json: JsonOption = False,
) -> None:
    """Run recipes, and put the files they make side by side: accuracy on test images, bytes, latency, energy.

    OUT gets a training run and a file for each recipe, compare.json, compare.html and pareto.svg. A recipe may start
    from the weights of one before it: OUT/NAME/model.safetensors.
    """
    require("train", "torch", "lightning_fabric", "torchmetrics", "matplotlib")
    if onnx:
        check_installed()
        require("bench", "onnxruntime")
    from netsuke.analyze.energy import SOURCE

    entries = _entries(recipes, out)
    _train(entries, data, out, device)
    graphs = {entry.name: artifact.read(entry.file) for entry in entries}
    measured = {entry.name: _measure(entry, graphs[entry.name], data) for entry in entries}
    cores = cores_for(threads)
    with tempfile.TemporaryDirectory() as scratch:
        requests = _requests(entries, graphs, cores, Path(scratch) if onnx else None)
        facts, taken = race_processes(requests, None, seconds)
    times = {name: summary(facts[name], seconds) for name, seconds in taken.items()}
    first = measured[entries[0].name]
    for entry in entries:
        own, other = times[_engine(entry.name)], times.get(_onnx(entry.name))
        found = measured[entry.name]
        found |= {key: own[key] for key in ("median_ms", "min_ms", "runs")}
        found["onnxruntime_median_ms"] = None if other is None else other["median_ms"]
        found |= {"smaller": first["bytes"] / found["bytes"], "faster": first["median_ms"] / found["median_ms"]}
    result = {
        "out": str(out),
        "data": data,
        "machine": cpu_name(),
        "cores": cores,
        "threads": threads,
        "batch": 1,
        "isa": facts[_engine(entries[0].name)]["isa"],
        "energy_source": SOURCE,
        "networks": list(measured.values()),
    }
    _write(result, out)
    if json:
        emit(result)
    else:
        _show(result)


def _entries(recipes: list[str], out: Path) -> list[Entry]:
    """What is compared, all of it read before any training starts."""
    from netsuke.train import read_recipe

    entries: list[Entry] = []
    for text in recipes:
        path = Path(text)
        name = path.name.removesuffix(".netsuke").removesuffix(".toml")
        if path.suffix == ".netsuke":
            artifact.read(path)
            entries.append(Entry(name, path))
        else:
            entries.append(Entry(name, out / f"{name}.netsuke", read_recipe(text)))
    names = [entry.name for entry in entries]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise Error(f"{double} is named twice: each network needs a name of its own, which is that of its file")
    return entries


def _train(entries: list[Entry], data: str, out: Path, device: str) -> None:
    from netsuke.train import Output, run

    with training_bars(stderr_console()) as bars:
        bar = bars.add_task("", total=1.0, state="")
        say = bars.console.print if bars.console.is_terminal else remark
        for entry in entries:
            if entry.recipe is None:
                continue
            say(f"{entry.name}: {entry.recipe.epochs} epochs")
            bars.reset(bar, total=1.0, description=entry.name)

            def update(now: Where) -> None:
                bars.update(bar, completed=now.share, state=f"epoch {now.epoch}, {now.images_per_second:,.0f} images/s")

            try:
                run(entry.recipe, data, Output(out / entry.name), device, update)
                export_run(out / entry.name, entry.file, data)
            except Error as error:
                raise Error(f"{entry.name}: {error}") from None


def _measure(entry: Entry, graph: Graph, data: str) -> dict[str, Any]:
    """What there is to say of a file without a clock."""
    from netsuke.report.file_energy import file_energy

    network = from_file(entry.file)
    if isinstance(network, Detector):
        raise Error(f"{entry.file} is a detector, and compare measures top-1: take `netsuke eval`")
    dataset = open_dataset(data, sizing=network.sizing, channels=network.input_shape[0])
    size = entry.file.stat().st_size
    energy = file_energy(graph, size)
    return {
        "name": entry.name,
        "file": str(entry.file),
        "model": graph.model,
        **accuracy(network, dataset),
        "bytes": size,
        "energy_millijoule": energy.total / MILLIJOULE,
        "energy": {part: getattr(energy, part) / MILLIJOULE for part in ("compute", "on_chip", "off_chip")},
    }


def _engine(name: str) -> str:
    return f"{name} in the engine"


def _onnx(name: str) -> str:
    return f"{name} in ONNX Runtime"


def _requests(entries: list[Entry], graphs: dict[str, Graph], cores: list[int], folder: Path | None) -> list[Request]:
    """The processes of the race. folder: for ONNX files, None for none."""
    requests = []
    for i, entry in enumerate(entries):
        graph = graphs[entry.name]
        common = {"cores": cores, "threads": len(cores), "batch": 1, "input": list(graph.input_shape), "isa": None}
        own = common | {"candidate": "netsuke", "file": str(entry.file)}
        requests.append(Request(_engine(entry.name), own))
        if folder is not None and not any(isinstance(node, BinaryConv2d) for node in graph.nodes):
            path = folder / f"{i}.onnx"
            export_onnx(graph, path)
            own = common | {"candidate": "onnxruntime_f32", "onnx": str(path)}
            requests.append(Request(_onnx(entry.name), own))
    return requests


def _rows(result: dict[str, Any]) -> list[list[str]]:
    rows = []
    for found in result["networks"]:
        other = found["onnxruntime_median_ms"]
        rows.append(
            [
                found["name"], f"{found['top1']:.2f}", f"{found['bytes']:,}", f"{found['smaller']:.1f}x",
                f"{found['median_ms']:.3f}", f"{found['faster']:.2f}x", "" if other is None else f"{other:.3f}",
                f"{found['energy_millijoule']:#.3g}",
            ]
        )  # fmt: skip
    return rows


def _words(result: dict[str, Any]) -> list[str]:
    first, n = result["networks"][0]["name"], result["networks"][0]["n"]
    return [
        f"Top-1 on {n:,} test images. Smaller and faster: than {first}. Medians of one run in which all took turns, "
        f"one image, {result['threads']} thread(s) of {result['machine']}, {result['isa']}.",
        f"Energy is an estimate, from the operations and the bytes moved: {result['energy_source']}.",
    ]


def _write(result: dict[str, Any], out: Path) -> None:
    from json import dumps

    from netsuke.report import Section, page
    from netsuke.report.pictures import tradeoffs
    from netsuke.report.style import svg

    networks = result["networks"]
    picture = svg(
        tradeoffs(
            {found["name"]: found["top1"] for found in networks},
            {words: {found["name"]: found[key] for found in networks} for key, words in COSTS.items()},
        )
    )
    atomic.write(out / "pareto.svg", picture)
    section = Section(
        "Side by side",
        _words(result),
        [list(HEAD), *_rows(result)],
        [("accuracy against bytes, time and energy", picture)],
    )
    text = page(f"Networks compared on {result['data'].partition(':')[0]}", [section], "Written by `netsuke compare`.")
    atomic.write(out / "compare.html", text.encode())
    atomic.write(out / "compare.json", (dumps(result, indent=1) + "\n").encode())


def _show(result: dict[str, Any]) -> None:
    rows = table(*HEAD)
    for row in _rows(result):
        rows.add_row(*row)
    show(rows, *_words(result), f"wrote {result['out']}/compare.html, compare.json and pareto.svg")
