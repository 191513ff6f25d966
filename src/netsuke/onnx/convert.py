"""From a netsuke graph to an ONNX model."""

from __future__ import annotations

import json

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper

import netsuke
from netsuke.artifact.contract import Error
from netsuke.artifact.graph import Affine, BinaryConv2d, FixedConv2d, FixedNode, Graph, InputTransform, Int8Conv2d
from netsuke.artifact.infer import unit_of
from netsuke.onnx.builder import Builder, Tensor
from netsuke.onnx.nodes import NODES
from netsuke.onnx.steps import STEPS, affine

# Operator set and file version: old enough for most engines; tensors of 4 bits came later.
OPSET, IR_VERSION = 17, 8
OPSET_4_BIT, IR_VERSION_4_BIT = 21, 10


def convert(graph: Graph, input: str = "float32") -> ModelProto:
    """The ONNX model of a graph. Arguments and errors as of `netsuke.export_onnx`."""
    _refuse_bits(graph)
    build = Builder(graph)
    results = ["output" if i == 0 else f"output_{i}" for i in range(len(graph.outputs))]
    build.values[0] = Tensor(build.name("input"))
    for name in results:
        build.name(name)
    if input == "uint8":
        _normalise(build, graph.transform)
    for node in graph.nodes:
        build.enter(node.name or type(node).__name__.lower())
        scales = [build.kinds[value].scale for value in node.inputs]
        build.unit = unit_of(node, scales) if isinstance(node, FixedNode) else None
        y = NODES[type(node)](build, node)
        for step in node.epilogue:
            y = STEPS[type(step)](build, step, y)
    outputs = []
    for name, output in zip(results, graph.outputs, strict=True):
        build.enter(name)
        shape = build.kinds[output.value].shape
        y = build.values[output.value]
        y = build.flat(y) if output.rank == 2 else build.map(y, shape[0])
        if output.rank == 3:
            y = Tensor(build.op("Squeeze", [y.name, build.constant("axis", np.array([3], np.int64))], "squeezed"))
        build.nodes.append(helper.make_node("Identity", [y.name], [name], name))
        shown: list[str | int] = ["N", *output.shape_of(shape)]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shown))

    kind = TensorProto.UINT8 if input == "uint8" else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("input", kind, ["N", *build.kinds[0].shape])]
    four_bits = any(isinstance(node, Int8Conv2d | FixedConv2d) and node.bits == 4 for node in graph.nodes)
    model = helper.make_model(
        helper.make_graph(build.nodes, graph.model, inputs, outputs, build.constants),
        opset_imports=[helper.make_opsetid("", OPSET_4_BIT if four_bits else OPSET)],
        ir_version=IR_VERSION_4_BIT if four_bits else IR_VERSION,
        producer_name="netsuke",
        producer_version=netsuke.__version__,
    )
    if graph.transform is not None:
        helper.set_model_props(model, {"preprocess": _described(graph.transform)})
    checker.check_model(model, full_check=True)
    return model


def _refuse_bits(graph: Graph) -> None:
    binary = [node.name for node in graph.nodes if isinstance(node, BinaryConv2d)]
    if binary:
        raise Error(
            f"layer {binary[0]!r} is binary, one of {len(binary)}, and ONNX has no 1-bit convolution.\n"
            "Run the .netsuke file itself: netsuke.load, or the C interface"
        )


def _normalise(build: Builder, transform: InputTransform | None) -> None:
    """Value 0 from 8-bit images: x = pixel * scale + shift, the channels reversed first if the network wants BGR."""
    if transform is None:
        raise Error(
            "the file has no preprocessing, so its input cannot be uint8.\n"
            "Export it with one, netsuke.export(..., preprocess=netsuke.Preprocess(mean, std)), or take input float32"
        )
    build.enter("input")
    x = build.op("Cast", ["input"], "float", to=TensorProto.FLOAT)
    if transform.order == "BGR":
        order = np.arange(len(transform.scale))[::-1].astype(np.int64)
        x = build.op("Gather", [x, build.constant("order", order)], "bgr", axis=1)
    build.values[0] = affine(build, Affine(transform.scale, transform.shift), Tensor(x))


def _described(transform: InputTransform) -> str:
    """JSON: what value 0 is of an image, for whoever reads the ONNX file."""
    return json.dumps(
        {
            "pixel_scale": transform.scale.tolist(),
            "pixel_shift": transform.shift.tolist(),
            "order": transform.order,
            "resize": transform.resize,
            "crop": transform.crop,
            "interpolation": transform.interpolation,
            "fit": transform.fit,
        }
    )
