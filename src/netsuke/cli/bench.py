"""`netsuke bench`: latency of a file side by side with other engines."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from netsuke import artifact
from netsuke.artifact.contract import Error
from netsuke.artifact.graph import Graph
from netsuke.cli.candidates import CANDIDATES, NEED_ONNX, NEED_REGISTRY
from netsuke.cli.entrants import Entrant, parse
from netsuke.cli.layers import time_layers
from netsuke.cli.machine import cores_for, cpu_name
from netsuke.cli.options import count
from netsuke.cli.options import seconds as at_least
from netsuke.cli.output import JsonOption, emit, require, show, table
from netsuke.cli.quantise import QUANTISERS
from netsuke.cli.race import Request, race_processes

RANDOM = "random (seed 0)"


def bench(
    file: Annotated[Path, typer.Argument(help="A .netsuke file.")],
    against: Annotated[
        str,
        typer.Option(
            help=f"Comma separated: {', '.join(CANDIDATES)}, netsuke@ISA, other .netsuke files. @ISA behind netsuke, "
            "a file or an openvino candidate holds it to an instruction set: netsuke@avx2, openvino_int8@AVX2."
        ),
    ] = "",
    threads: Annotated[
        int, typer.Option(parser=count("--threads"), metavar="N", help="Threads of every candidate, one core each.")
    ] = 1,
    batch: Annotated[int, typer.Option(parser=count("--batch"), metavar="N", help="Images in a batch.")] = 1,
    runs: Annotated[
        int | None,
        typer.Option(parser=count("--runs"), metavar="N", help="Timed runs of each, instead of --seconds."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(parser=at_least("--seconds", 0.01), metavar="S", help="Timed seconds of each.")
    ] = 3.0,
    layers: Annotated[bool, typer.Option("--layers", help="Also time every node of the file.")] = False,
    reference: Annotated[
        Path | None, typer.Option(help="The float network as ONNX, for a model not in the zoo.")
    ] = None,
    isa: Annotated[str | None, typer.Option(help="Force the engine's instruction set, as in scalar, avx2.")] = None,
    openvino_isa: Annotated[
        str | None, typer.Option(help="Hold openvino candidates without @ISA to one, as in AVX2, AVX512_CORE_VNNI.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Time a .netsuke file and other engines, interleaved in one run, each a process pinned to the same cores.

    The float networks, and torch_binary, have random weights (seed 0), a --reference its own: only times are compared.
    """
    entrants = [Entrant("netsuke", "netsuke", isa), *parse(against, openvino_isa)]
    graph = artifact.read(file)
    cores = cores_for(threads)
    with tempfile.TemporaryDirectory() as scratch:
        request: dict[str, Any] = {
            "cores": cores, "threads": threads, "batch": batch, "input": list(graph.input_shape), "file": str(file),
            "model": graph.model, "classes": _classes(graph), "onnx": None,
        }  # fmt: skip
        names = list(dict.fromkeys(entrant.candidate for entrant in entrants))
        request["onnx"] = _onnx(names, graph, request, reference, Path(scratch))
        for name in set(names) & set(QUANTISERS):
            quantise, ending = QUANTISERS[name]
            request[name] = str(Path(scratch) / f"{name}{ending}")
            quantise(request["onnx"], (batch, *graph.input_shape), Path(request[name]))
        facts, taken = race_processes([_request(entrant, request) for entrant in entrants], runs, seconds)
    result = {
        "file": str(file),
        "model": graph.model,
        "machine": cpu_name(),
        "cores": cores,
        "isa": facts["netsuke"]["isa"],
        "threads": threads,
        "batch": batch,
        "candidates": {
            entrant.name: summary(facts[entrant.name], taken[entrant.name])
            | {"weights": _weights(entrant.candidate, reference)}
            for entrant in entrants
        },
        "ratio": ratios(taken),
    }
    if layers:
        result["layers"], result["peak"] = time_layers(file, graph, threads, isa, batch, cores)
    if json:
        emit(result)
    else:
        _show(result)


def summary(facts: dict[str, Any], taken: list[float]) -> dict[str, Any]:
    """median_ms, min_ms and runs of the seconds taken, beside the candidate's facts."""
    return {"median_ms": 1e3 * statistics.median(taken), "min_ms": 1e3 * min(taken), "runs": len(taken), **facts}


def ratios(taken: dict[str, list[float]]) -> dict[str, float]:
    """Median of each candidate over the median of netsuke: above 1 netsuke is the faster."""
    own = statistics.median(taken["netsuke"])
    return {name: statistics.median(times) / own for name, times in taken.items() if name != "netsuke"}


def _classes(graph: Graph) -> int | None:
    """Scores an image, for a classifier."""
    if len(graph.outputs) != 1 or graph.outputs[0].rank != 2:
        return None
    return artifact.infer(graph)[graph.outputs[0].value].shape[0]


def _weights(candidate: str, reference: Path | None) -> str:
    """Whose weights a candidate has."""
    if candidate == "netsuke":
        return "the file's"
    return "the reference's" if candidate in NEED_ONNX and reference is not None else RANDOM


def _onnx(names: list[str], graph: Graph, request: dict[str, Any], reference: Path | None, scratch: Path) -> str | None:
    """The ONNX file of the float network: the one given, or the registry's counterpart. None if nobody asks."""
    if reference is not None and not reference.is_file():
        raise Error(f"there is no ONNX file at {reference}")
    from_registry = [name for name in names if name in NEED_REGISTRY]
    from_onnx = [name for name in names if name in NEED_ONNX]
    if from_registry:
        _check_registry(graph, f"leave {', '.join(from_registry)} out")
    if from_onnx and reference is None:
        _check_registry(graph, f"give {', '.join(from_onnx)} the float network as --reference FILE.onnx")
    if not from_onnx:
        return None
    if reference is not None:
        return str(reference)
    require("bench", "onnx")
    from netsuke.cli.counterpart import float_counterpart, write_onnx

    path = scratch / "float.onnx"
    channels, height, width = graph.input_shape
    write_onnx(float_counterpart(graph.model, request["classes"]), (request["batch"], channels, height, width), path)
    return str(path)


def _check_registry(graph: Graph, remedy: str) -> None:
    """Raises Error, saying the remedy, unless the file's model is in the registry, with this input."""
    require("train", "torch")
    from netsuke.models import get_model, list_models

    if graph.model not in list_models():
        raise Error(
            f"{graph.model!r}, the file's model, is not in the zoo, so its float counterpart is not known\n{remedy}"
        )
    if get_model(graph.model).input != graph.input_shape:
        raise Error(
            f"the file takes {graph.input_shape} images, the zoo's {graph.model} {get_model(graph.model).input}\n"
            f"{remedy}"
        )


def _request(entrant: Entrant, common: dict[str, Any]) -> Request:
    own = common | {"candidate": entrant.candidate, "isa": entrant.isa}
    if entrant.file is not None:
        own["file"] = entrant.file
    return Request(entrant.name, own, entrant.environment)


def _show(result: dict[str, Any]) -> None:
    where = f"{result['threads']} thread(s), {result['machine']}, {result['isa']}"
    timings = table("", "median ms", "min ms", "runs", "ratio", "precision", "version", "ran as")
    for name, entry in result["candidates"].items():
        ratio = f"{result['ratio'][name]:.2f}x" if name in result["ratio"] else "1"
        timings.add_row(
            name, f"{entry['median_ms']:.3f}", f"{entry['min_ms']:.3f}", str(entry["runs"]), ratio,
            entry["precision"], entry["version"], entry.get("kernel") or entry.get("isa") or "",
        )  # fmt: skip
    show(f"{result['model']}, batch {result['batch']}, {where}", timings)
    random = [name for name, entry in result["candidates"].items() if entry["weights"] == RANDOM]
    if random:
        show(f"{', '.join(random)}: weights {RANDOM}, only the time is of interest")
    if "layers" in result:
        nodes = table("node", "op", "us", "share %", "GMAC/s", "% of bare loop")
        for layer in result["layers"]:
            speed = f"{layer['gmacs']:.1f}" if layer["gmacs"] else ""
            of_peak = f"{100 * layer['of_peak']:.0f}" if layer["of_peak"] else ""
            nodes.add_row(
                layer["name"], layer["op"], f"{layer['us']:.1f}", f"{100 * layer['share']:.1f}", speed, of_peak
            )
        bare = ", ".join(f"{kind.removesuffix('_gmacs')} {rate:.1f}" for kind, rate in result["peak"].items())
        show("node by node", nodes, f"bare loops of {result['threads']} thread(s), in GMAC/s: {bare}")
