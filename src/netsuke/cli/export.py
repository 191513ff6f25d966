"""`netsuke export`: from a model of the zoo, or a training run, to a file; and from a file to ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from netsuke import artifact
from netsuke.artifact.contract import Error
from netsuke.cli.calibration import Calibration, compare, read_images
from netsuke.cli.checkpoint import Network, load, load_run
from netsuke.cli.options import choice, count
from netsuke.cli.output import JsonOption, emit, remark, show, table
from netsuke.cli.place import check_place
from netsuke.float_layers import BITS, read_bits
from netsuke.float_layers import read as read_layers
from netsuke.float_layers import write as layers_text
from netsuke.onnx import INPUTS, check_installed, export_onnx
from netsuke.report.runs import Run, read_run

PRECISIONS = ("dynamic", "channel", "static")


def _layers_option(text: str) -> str | dict[str, str]:
    try:
        return read_layers(text)
    except Error as error:
        raise Error(f"--float-layers {error}") from None


def _fixed_option(text: str) -> int | dict[str, int]:
    try:
        return read_bits(text)
    except Error as error:
        raise Error(f"--fixed-point {error}") from None


def _data_bits(text: str | int) -> int:
    return int(choice("--data-bits", "4", "8")(str(text)))


def export(
    out: Annotated[Path, typer.Option(help="The file to write.")],
    model: Annotated[str | None, typer.Option(help="Name of the model; `netsuke models` lists them.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Its checkpoint; without one the weights are random.")] = None,
    run: Annotated[Path | None, typer.Option(help="Instead of both: the folder of a finished `netsuke train`.")] = None,
    file: Annotated[Path | None, typer.Option(help="Instead of all: a .netsuke file, to write as ONNX.")] = None,
    format: Annotated[
        str | None,
        typer.Option(
            parser=choice("--format", "netsuke", "onnx"),
            metavar="netsuke|onnx",
            help="Of the file to write; without it onnx if --out ends in .onnx, else netsuke.",
        ),
    ] = None,
    input: Annotated[
        str,
        typer.Option(
            parser=choice("--input", *INPUTS),
            metavar="|".join(INPUTS),
            help="What an ONNX network takes: normalised images, or images as they were read.",
        ),
    ] = "float32",
    float_layers: Annotated[
        Any,
        typer.Option(
            parser=_layers_option,
            metavar="|".join(BITS),
            help="What the layers without bits compute in; or layer by layer, by patterns of their names: "
            "'int8,*.gate.*=int4'. int8 and int4 need --calibration. Else as the recipe of --run says.",
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Data set whose training images choose the int8 ranges: cifar10:PATH, imagefolder:PATH, ...",
        ),
    ] = None,
    calibration_images: Annotated[
        int | None,
        typer.Option(
            parser=count("--calibration-images"), metavar="N", help="How many of them, evenly spaced.  [default: 256]"
        ),
    ] = None,
    fixed_point: Annotated[
        Any,
        typer.Option(
            parser=_fixed_option,
            metavar="BITS",
            help="Compute in integers only, with powers of two for scales: bits of the weights, 4 or 8, for all layers "
            "or by patterns: 8,linear=4. Needs --calibration.",
        ),
    ] = None,
    data_bits: Annotated[
        int,
        typer.Option(parser=_data_bits, metavar="4|8", help="With --fixed-point: of maps between layers."),
    ] = 8,
    precision: Annotated[
        str,
        typer.Option(
            parser=choice("--precision", *PRECISIONS),
            metavar="|".join(PRECISIONS),
            help="With --fixed-point: scales by layer, by output channel of the weights, or one for the network.",
        ),
    ] = "dynamic",
    equalise: Annotated[
        bool,
        typer.Option("--equalise", help="With --fixed-point: first bring the channels of each layer to one range."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a model as a .netsuke file, its preprocessing included, or as an ONNX file for other engines."""
    check_place(out)
    kind = format or ("onnx" if out.suffix.lower() == ".onnx" else "netsuke")
    if [model, run, file].count(None) != 2 or (weights is not None and model is None):
        raise Error(
            "give --model NAME, with --weights FILE where it is trained; or --run DIR, which says both;\n"
            "or --file FILE.netsuke, to write that as ONNX"
        )
    if run is not None and float_layers is None and fixed_point is None:
        said = _asked_by(read_run(run))
        float_layers, fixed_point = said.float_layers, said.fixed_point
        if fixed_point is not None:
            precision, equalise = said.precision, said.equalise
        calibration_images = calibration_images or said.images
    float_layers, calibration_images = float_layers or "float32", calibration_images or 256
    if fixed_point is None and (data_bits != 8 or precision != "dynamic" or equalise):
        raise Error("--data-bits, --precision and --equalise are for --fixed-point: give that too")
    _check_layers(float_layers, fixed_point, calibration)
    chosen = _options(float_layers, fixed_point, data_bits, precision, equalise)
    if kind == "onnx":
        check_installed()
    elif input != "float32":
        raise Error(f"--input {input} is for --format onnx: a .netsuke file with its preprocessing takes both")
    result: dict[str, Any] = {"out": str(out), "format": kind}
    with TemporaryDirectory() as folder:
        if file is not None:
            if kind != "onnx" or calibration is not None:
                raise Error("--file is a network to write as ONNX, as it is: give --format onnx, and no --float-layers")
            made = file
            result |= {"weights": str(file), "float_layers": None, "fixed_point": None, "calibration": None}
        else:
            made = out if kind == "netsuke" else Path(folder) / "network.netsuke"
            text = None if fixed_point is None else str(chosen["fixed_point"])
            result |= {"float_layers": layers_text(float_layers), "fixed_point": text}
            result |= _write(made, model, weights, run, chosen, calibration, calibration_images)
        if kind == "onnx":
            graph = artifact.read(made)
            export_onnx(graph, out, input)
            result |= {"model": graph.model, "input": input}
    result["bytes"] = out.stat().st_size
    if json:
        emit(result)
    else:
        _show(result)


def export_run(folder: Path, out: Path, spec: str) -> None:
    """Write the file of a finished run as its recipe asks for it, ranges chosen on training images of `spec`."""
    run = read_run(folder)
    said = _asked_by(run)
    network = load_run(run)
    options = _options(said.float_layers or "float32", said.fixed_point, 8, said.precision, said.equalise)
    if options != _options("float32"):
        options["calibration"] = read_images(spec, said.images, network).batches(network.preprocess)
    write_network(network, run.model, out, **options)


@dataclass
class _Asked:
    """What a recipe says in [export]; None for what it leaves open."""

    float_layers: str | dict[str, str] | None
    fixed_point: int | dict[str, int] | None
    precision: str
    equalise: bool
    images: int


def _asked_by(run: Run) -> _Asked:
    said = run.recipe.get("export", {})
    layers, bits = said.get("float_layers"), said.get("fixed_point")
    return _Asked(
        _layers_option(layers) if layers else None, _fixed_option(bits) if bits else None,
        said.get("precision", PRECISIONS[0]), said.get("equalise", False), said.get("images", 256),
    )  # fmt: skip


def _options(
    float_layers: Any, fixed_point: Any = None, data_bits: int = 8, precision: str = "dynamic", equalise: bool = False
) -> dict[str, Any]:
    """Of `netsuke.export`."""
    if fixed_point is None:
        return {"float_layers": float_layers}
    from netsuke.lowering import FixedPoint

    return {"fixed_point": FixedPoint(fixed_point, data_bits, precision, equalise)}  # type: ignore[arg-type]


def _check_layers(float_layers: str | dict[str, str], fixed_point: Any, calibration: str | None) -> None:
    """Raises Error unless there are calibration images just where integers are."""
    kinds = set(float_layers.values()) if isinstance(float_layers, dict) else {float_layers}
    if fixed_point is not None and (kinds != {"float32"} or calibration is None):
        raise Error(
            "--fixed-point needs --calibration SPEC (cifar10:PATH, ...) and goes without --float-layers:\n"
            "the scales are chosen on training images, and no layer is left in floats"
        )
    if kinds != {"float32"} and calibration is None:
        raise Error(
            f"--float-layers {layers_text(float_layers)} needs --calibration SPEC, as in --calibration cifar10:PATH:\n"
            "the ranges of the integers are chosen on training images"
        )
    if kinds == {"float32"} and fixed_point is None and calibration is not None:
        raise Error(
            "--calibration is for --float-layers int8 or int4, and for --fixed-point: give one of them, or leave it out"
        )


def _write(
    out: Path,
    model: str | None,
    weights: Path | None,
    run: Path | None,
    precision: dict[str, Any],
    calibration: str | None,
    calibration_images: int,
) -> dict[str, Any]:
    """Write a network of the zoo, or of a run, as the .netsuke file `out`; return what there is to say about it."""
    if run is not None:
        trained = read_run(run)
        network, model, weights = load_run(trained), trained.model, trained.weights
    else:
        assert model is not None
        network = load(model, weights)
    if weights is None:
        remark("no --weights: the weights are random (seed 0)")
    chosen = read_images(calibration, calibration_images, network) if calibration else None
    cost = None
    if chosen is None:
        write_network(network, model, out)
    else:
        cost = _write_quantized(network, model, out, chosen, **precision)
    return {
        "model": model,
        "weights": "random, seed 0" if weights is None else str(weights),
        "calibration": cost,
    }


def write_network(network: Network, model: str, out: Path, **options: Any) -> None:
    """The file `out` of a network. options: as of `netsuke.export`."""
    import torch

    from netsuke.lowering.export import export as export_module

    example = torch.zeros(2, *network.entry.input)  # two images, so that the batch stays a dynamic dimension
    export_module(network.module, example, out, preprocess=network.preprocess, model=model, **options)


def _write_quantized(network: Network, model: str, out: Path, chosen: Calibration, **options: Any) -> dict[str, Any]:
    """Write the file with quantized layers; return what that costs, on the images that it was calibrated on."""
    with TemporaryDirectory() as folder:
        before = Path(folder) / "float32.netsuke"
        write_network(network, model, before)
        write_network(network, model, out, calibration=chosen.batches(network.preprocess), **options)
        return compare(before.read_bytes(), out.read_bytes(), chosen)


def _show(result: dict[str, Any]) -> None:
    words = f"wrote {result['out']}: {result['bytes']:,} bytes, {result['model']}, weights {result['weights']}"
    show(words + (f", as ONNX that takes {result['input']}" if result["format"] == "onnx" else ""))
    cost = result["calibration"]
    if cost is None:
        return
    rows = table("layers in", "top-1 %", "bytes as .netsuke")
    for kind, name in (("float32", "float32"), ("int8", result["fixed_point"] or result["float_layers"])):
        top1 = cost[f"top1_{kind}"]
        rows.add_row(name, "" if top1 is None else f"{top1:.2f}", f"{cost[f'bytes_{kind}']:,}")
    show(rows)
    if cost["equal_top1"] is not None:
        show(
            f"both give the same class to {cost['equal_top1']:.2f} % of these {cost['n']:,} images of {cost['name']}, "
            "which chose the ranges;\n`netsuke eval` measures on test images"
        )
