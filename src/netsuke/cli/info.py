"""`netsuke info`: what is in a file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import typer

from netsuke import artifact, engine
from netsuke.artifact.contract import SCHEMA_VERSION
from netsuke.artifact.graph import BinaryConv2d, Conv2d, FixedConv2d, Graph, InputTransform, Int8Conv2d
from netsuke.cli.layers import describe
from netsuke.cli.output import JsonOption, emit, show, table

PARTS = {
    "header": "",
    "float32": "float weights, biases, scales, slopes, thresholds; equal ones once",
    "bits": "one-bit weights, eight a byte; 8-bit weights; 4-bit ones, two a byte",
    "coded_floats": "of the floats above, what is coded: with biases and codebooks",
    "coded_weights": "codes of weights, zeros and places included",
    "graph": "",
}


def info(file: Annotated[Path, typer.Argument(help="A .netsuke file.")], json: JsonOption = False) -> None:
    """Show what is in a .netsuke file: layers or embedding tables, bits, sizes, checksum, preprocessing."""
    collected, shown = (collect_tables, _show_tables) if artifact.holds_tables(file) else (collect, _show)
    result = collected(file)
    if json:
        emit(result)
    else:
        shown(result)


def collect(file: Path) -> dict[str, Any]:
    """Everything `info` says of a network. Raises Error if the file is not a sound .netsuke file."""
    graph = artifact.read(file)
    data = file.read_bytes()
    layers, (parts, numbers) = describe(graph), artifact.parts(data)
    binary = sum(node.weight.size for node in graph.nodes if isinstance(node, BinaryConv2d))
    integers = [node for node in graph.nodes if isinstance(node, Int8Conv2d | FixedConv2d)]
    int8, int4 = (sum(node.weight.size for node in integers if node.bits == bits) for bits in (8, 4))
    real = sum(node.weight.size + node.bias.size for node in graph.nodes if isinstance(node, Conv2d))
    return {
        "model": graph.model,
        "schema": SCHEMA_VERSION,
        "bytes": len(data),
        "parts": parts,
        "sha256": hashlib.sha256(data).hexdigest(),
        "nodes": len(graph.nodes),
        "tensors": 3,
        "input": list(graph.input_shape),
        "transform": _transform(graph.transform),
        "outputs": _outputs(graph),
        "binary_weights": binary,
        "int8_weights": int8,
        "int4_weights": int4,
        "float_weights": real,
        "float_numbers": numbers,
        "integers_only": not artifact.float_operations(graph),
        "macs": sum(layer["macs"] for layer in layers),
        "isa": _isa(file),
        "layers": layers,
    }


def collect_tables(file: Path) -> dict[str, Any]:
    """Everything `info` says of embedding tables. Raises Error likewise."""
    model, tables = artifact.read_tables(file)
    data = file.read_bytes()
    listed = [
        {
            "name": table.name,
            "rows": len(table.rows),
            "columns": table.columns,
            "mode": table.mode,
            "padding": table.padding,
            "bytes": table.rows.size,
            "float_bytes": 4 * len(table.rows) * table.columns,
        }
        for table in tables
    ]
    return {
        "model": model,
        "schema": SCHEMA_VERSION,
        "bytes": len(data),
        "parts": artifact.parts(data)[0],
        "sha256": hashlib.sha256(data).hexdigest(),
        "nodes": 0,
        "tensors": 3,
        "tables": listed,
        "binary_weights": sum(len(table.rows) * table.columns for table in tables),
        "isa": next(iter(engine.load_embeddings(data).values())).isa,
    }


def _transform(transform: InputTransform | None) -> dict[str, Any] | None:
    if transform is None:
        return None
    return {
        "order": transform.order,
        "resize": transform.resize,
        "crop": transform.crop,
        "fit": transform.fit,
        "interpolation": transform.interpolation,
        "scale": [float(x) for x in transform.scale],
        "shift": [float(x) for x in transform.shift],
    }


def _outputs(graph: Graph) -> list[list[int]]:
    values = artifact.infer(graph)
    return [list(output.shape_of(values[output.value].shape)) for output in graph.outputs]


def _isa(file: Path) -> str | None:
    """The instruction set that the engine would run it on here; None where no engine was compiled."""
    return engine.load(file).isa if engine.available_isas() else None


def _input_text(transform: dict[str, Any] | None) -> str:
    """What the file does to a pixel, and what its reader should do to an image."""
    if transform is None:
        return "float32 only"
    words = [f"{key} {' '.join(f'{number:.5g}' for number in transform[key])}" for key in ("scale", "shift")]
    if len(transform["scale"]) > 1:
        words.append(transform["order"])
    if transform["resize"]:
        stretched = f"x{transform['resize']}" if transform["fit"] == "stretch" else ""
        words.append(f"resize {transform['resize']}{stretched} {transform['interpolation']}")
    if transform["crop"]:
        words.append(f"crop {transform['crop']}")
    return f"float32, or uint8 as pixel * scale + shift: {', '.join(words)}"


def _show_tables(result: dict[str, Any]) -> None:
    tables = table("table", "rows", "columns", "mode", "padding row", "bytes", "in float32")
    for entry in result["tables"]:
        numbers = [f"{entry[key]:,}" for key in ("rows", "columns")]
        padding = "" if entry["padding"] is None else f"{entry['padding']:,}"
        sizes = [f"{entry[key]:,}" for key in ("bytes", "float_bytes")]
        tables.add_row(entry["name"], *numbers, entry["mode"], padding, *sizes)
    smaller = sum(entry["float_bytes"] for entry in result["tables"]) / result["bytes"]
    count = f"{len(result['tables'])} embedding tables, for netsuke.load_embeddings"
    show(
        f"{result['model']}: {result['bytes']:,} bytes, {count}",
        tables,
        f"a bit a number and 16 bits a row; {smaller:.1f} times smaller than in float32",
        f"format {result['schema']}, SHA-256 {result['sha256']}",
        f"runs here on {result['isa']}",
    )


def _show(result: dict[str, Any]) -> None:
    layers = table("node", "op", "output", "kernel", "weights", "bits", "MMAC", "epilogue")
    for layer in result["layers"]:
        layers.add_row(
            layer["name"],
            layer["op"],
            "x".join(map(str, layer["output"])),
            "x".join(map(str, layer["kernel"])) if layer["kernel"] else "",
            f"{layer['weights']:,}" if layer["weights"] else "",
            str(layer["bits"]) if layer["bits"] else "",
            f"{layer['macs'] / 1e6:.3f}" if layer["macs"] else "",
            " ".join(layer["epilogue"]),
        )
    found = [f"{layer['name']} finds {', '.join(layer['labels'])}" for layer in result["layers"] if "labels" in layer]
    parts = table("part", "bytes", "what")
    for name, what in PARTS.items():
        parts.add_row(name, f"{result['parts'][name]:,}", what)
    parts.add_row("the file", f"{result['bytes']:,}", "")
    show(
        f"{result['model']}: {result['bytes']:,} bytes, {result['nodes']} nodes",
        layers,
        parts,
        f"input {'x'.join(map(str, result['input']))}: {_input_text(result['transform'])}",
        f"outputs {', '.join('x'.join(map(str, shape)) for shape in result['outputs'])}; "
        f"{result['binary_weights']:,} one-bit, {result['int8_weights']:,} 8-bit, "
        f"{result['int4_weights']:,} 4-bit and "
        f"{result['float_weights']:,} float weights and biases, "
        f"{result['float_numbers']:,} float32 numbers in all, "
        f"{result['macs'] / 1e6:.1f} MMAC",
        *found,
        "between the codes of the input and the outputs it computes in integers only"
        if result["integers_only"]
        else "it computes in floats too",
        f"format {result['schema']}, SHA-256 {result['sha256']}",
        f"runs here on {result['isa'] or 'the numpy reference only: no engine was compiled'}",
    )
