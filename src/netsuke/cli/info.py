"""`netsuke info`: what is in a file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import typer

from netsuke import artifact, engine
from netsuke.artifact.contract import SCHEMA_VERSION
from netsuke.artifact.graph import BinaryConv2d, Conv2d, Graph, InputTransform
from netsuke.cli.layers import describe
from netsuke.cli.output import JsonOption, emit, show, table


def info(file: Annotated[Path, typer.Argument(help="A .netsuke file.")], json: JsonOption = False) -> None:
    """Show what is in a .netsuke file: layers, bits, sizes, checksum, preprocessing."""
    result = collect(file)
    if json:
        emit(result)
    else:
        _show(result)


def collect(file: Path) -> dict[str, Any]:
    """Everything `info` says. Raises Error if the file is not a sound .netsuke file."""
    graph = artifact.read(file)
    data = file.read_bytes()
    layers = describe(graph)
    binary = sum(node.weight.size for node in graph.nodes if isinstance(node, BinaryConv2d))
    real = sum(node.weight.size + node.bias.size for node in graph.nodes if isinstance(node, Conv2d))
    return {
        "model": graph.model,
        "schema": SCHEMA_VERSION,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "nodes": len(graph.nodes),
        "tensors": 3,
        "input": list(graph.input_shape),
        "transform": _transform(graph.transform),
        "outputs": _outputs(graph),
        "binary_weights": binary,
        "float_weights": real,
        "macs": sum(layer["macs"] for layer in layers),
        "isa": _isa(file),
        "layers": layers,
    }


def _transform(transform: InputTransform | None) -> dict[str, Any] | None:
    if transform is None:
        return None
    return {
        "order": transform.order,
        "resize": transform.resize,
        "crop": transform.crop,
        "interpolation": transform.interpolation,
        "scale": [float(x) for x in transform.scale],
        "shift": [float(x) for x in transform.shift],
    }


def _outputs(graph: Graph) -> list[list[int]]:
    values = artifact.infer(graph)
    shapes = []
    for output in graph.outputs:
        channels, height, width = values[output.value].shape
        shapes.append([channels, height, width] if output.rank == 4 else [channels * height * width])
    return shapes


def _isa(file: Path) -> str | None:
    """The instruction set that the engine would run it on here; None where no engine was compiled."""
    return engine.load(file).isa if engine.available_isas() else None


def _show(result: dict[str, Any]) -> None:
    layers = table(
        f"{result['model']}: {result['bytes']:,} bytes, {result['nodes']} nodes",
        "node", "op", "output", "kernel", "weights", "bits", "MMAC", "epilogue",
    )  # fmt: skip
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
    transform = result["transform"]
    how = "float32 input only" if transform is None else "uint8 or float32 input, " + ", ".join(
        f"{key} {value}" for key, value in transform.items() if key not in ("scale", "shift") and value
    )  # fmt: skip
    show(
        layers,
        f"input {'x'.join(map(str, result['input']))}: {how}",
        f"outputs {', '.join('x'.join(map(str, shape)) for shape in result['outputs'])}; "
        f"{result['binary_weights']:,} one-bit and {result['float_weights']:,} float weights, "
        f"{result['macs'] / 1e6:.1f} MMAC",
        f"format {result['schema']}, {result['tensors']} tensors, SHA-256 {result['sha256']}",
        f"runs here on {result['isa'] or 'the numpy reference only: no engine was compiled'}",
    )
