"""`netsuke.export`: a module in, a file out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from netsuke import artifact
from netsuke.artifact.contract import Error
from netsuke.artifact.graph import Conv2d, Graph, InputTransform
from netsuke.float_layers import FloatLayers
from netsuke.lowering.build import Origin, build
from netsuke.lowering.calibrate import calibrate
from netsuke.lowering.capture import Captured, capture
from netsuke.lowering.fixed_point import FixedPoint, fix
from netsuke.lowering.passes import optimise, renumber, round_arrays, settle_scales
from netsuke.lowering.quantize import activations, quantize
from netsuke.nn.coding import Coding
from netsuke.onnx import check_installed, export_onnx


class PreprocessLike(Protocol):
    """What export reads of a netsuke.Preprocess (which lives where no torch and no graph is known)."""

    order: str
    resize: int
    crop: int
    interpolation: str
    fit: str

    def affine(self) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass
class Lowered:
    """graph: as in the file. captured: the module it came from. origin: graph value -> place in the captured module."""

    graph: Graph
    captured: Captured
    origin: dict[int, Origin]


def lower(
    module: nn.Module,
    example_input: Tensor,
    preprocess: Any = None,
    model: str = "model",
    float_layers: str | Mapping[str, str] = "float32",
    calibration: Any = None,
    fixed_point: FixedPoint | None = None,
) -> Lowered:
    """Capture a copy of `module` in eval mode and turn it into a graph. Arguments and errors as for `export`."""
    precision = FloatLayers(float_layers)
    if fixed_point is None:
        precision.check_calibration(calibration)
    elif precision.quantizes:
        raise Error("give one of float_layers and fixed_point: a fixed-point network has no float layers")
    elif calibration is None:
        raise Error("fixed_point needs calibration=images, a few hundred normalised training images (N, C, H, W)")
    captured = capture(module, example_input)
    built = build(captured, model)
    graph = optimise(built.graph)
    if fixed_point is not None:
        if built.codings:
            raise Error(f"layer {next(iter(built.codings))!r} was trained quantized: give fixed point a float network")
        round_arrays(graph)  # refuses a damaged model
        graph = fix(graph, fixed_point, calibration)
    codings: dict[tuple[int, int], Coding] = {}
    if precision.quantizes:
        precision.check_names(node.name for node in graph.nodes if isinstance(node, Conv2d))
        round_arrays(graph)  # refuses a damaged model
        others = activations(graph, lambda name: None if name in built.codings else precision.bits(name))
        codings = calibrate(captured, built.origin, others, calibration)

    def coding_of(node: Conv2d) -> Coding | None:
        bits = precision.bits(node.name)
        return built.codings.get(node.name) or (None if bits is None else codings.get((node.inputs[0], bits)))

    if codings or built.codings:
        graph, codes = quantize(graph, coding_of)
        built.origin.update({out: replace(built.origin[v], coding=code) for out, (v, code) in codes.items()})
    graph, ids = renumber(round_arrays(settle_scales(graph)))
    graph.transform = None if preprocess is None else _transform(preprocess, captured.input_shape[0])
    return Lowered(graph, captured, {new: built.origin[old] for old, new in ids.items() if old in built.origin})


def export(
    module: nn.Module,
    example_input: Tensor,
    path: str | os.PathLike[str],
    preprocess: Any = None,
    model: str = "model",
    float_layers: str | Mapping[str, str] = "float32",
    calibration: Any = None,
    fixed_point: FixedPoint | None = None,
) -> Path:
    """Write `module` as a .netsuke file, or where `path` ends in .onnx as an ONNX file, and return its path.

    module: any torch module made of supported operators; a copy in eval mode is captured, the module stays as it is.
    example_input: float images (N, C, H, W) of the size to run at, any N. preprocess: a netsuke.Preprocess, which lets
    the file take 8-bit images; None makes a file for normalised float32 input only. model: the name in the file.

    float_layers: "float32", or "int8" or "int4" to quantize every float convolution and linear layer after training:
    weights symmetric with one scale an output channel, activations with one scale and zero point a tensor, 8 or 4 bits
    each; sums are exact and biases stay float. A mapping chooses layer by layer: {pattern: one of these}, with shell
    patterns of layer names (as in named_modules()), the last that fits counts, and what none fits stays float:
    {"*": "int8", "*.gate.*": "int4"}. The range of an activation is chosen to lose least (mean squared error) when the
    float model runs on `calibration`: float images (N, C, H, W), normalised as for the model, or an iterable of such
    batches, for example a DataLoader. A few hundred training images are enough. Layers that were trained quantized
    (`netsuke.quantize`) are written as they are, whatever is said here.

    fixed_point: a netsuke.FixedPoint of 4 and 8 bits, to compute everything between input and logits in integers, with
    powers of two for scales; it needs `calibration` too.

    An ONNX file takes normalised float32 input; `netsuke.export_onnx` has more to choose, and the errors.

    Raises netsuke.Error for an operator that the format cannot express, naming it and the line of the module, and
    for calibration images that are missing, empty, not finite, or of another shape.
    """
    if not isinstance(model, str) or not model:
        raise Error("model is the name to write into the file: give a string that is not empty")
    if not isinstance(path, (str, os.PathLike)):
        raise Error(
            f"path is where the file is written: give a string or a Path, not a {type(path).__name__}. "
            "The order is export(module, example_input, path)"
        )
    if fixed_point is not None:
        fixed_point.check_file()
    target = Path(path)
    onnx = target.suffix.lower() == ".onnx"
    if onnx:
        check_installed()
    graph = lower(module, example_input, preprocess, model, float_layers, calibration, fixed_point).graph
    if onnx:
        export_onnx(graph, target)
    else:
        artifact.save(graph, target)
    return target


def _transform(preprocess: PreprocessLike, channels: int) -> InputTransform:
    try:
        scale, shift = preprocess.affine()
    except AttributeError:
        raise Error(f"preprocess must be a netsuke.Preprocess, not a {type(preprocess).__name__}") from None
    if len(scale) != channels:
        raise Error(f"preprocess has {len(scale)} channels and the example input {channels}: make them equal")
    sizing = preprocess.resize, preprocess.crop, preprocess.interpolation, preprocess.fit
    return InputTransform(scale, shift, preprocess.order, *sizing)
