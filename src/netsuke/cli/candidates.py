"""What can be raced: each function prepares one candidate inside its own process.

A request holds: candidate, cores, threads, batch, input (C, H, W), and what that candidate needs (file, isa, model,
classes, onnx, openvino_int8, onnxruntime_int8). All get the same float32 images.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from netsuke.artifact.contract import Error, first_line
from netsuke.artifact.graph import BinaryConv2d, FixedConv2d, Int8Conv2d
from netsuke.cli.output import require
from netsuke.cli.worker import Prepared

if TYPE_CHECKING:
    from torch import nn


def _images(request: dict[str, Any]) -> np.ndarray:
    shape = (request["batch"], *request["input"])
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def netsuke(request: dict[str, Any]) -> Prepared:
    import netsuke
    from netsuke import artifact
    from netsuke.engine import load

    engine, images = load(request["file"], threads=request["threads"], isa=request["isa"]), _images(request)
    kinds = {type(node) for node in artifact.read(request["file"]).nodes}
    named = [
        name
        for kind, name in ((BinaryConv2d, "1-bit"), (Int8Conv2d, "int8"), (FixedConv2d, "fixed point"))
        if kind in kinds
    ]
    precision = ", ".join(named) or "float32"
    return _tried(lambda: engine(images)), {"precision": precision, "version": netsuke.__version__, "isa": engine.isa}


def torch_binary(request: dict[str, Any]) -> Prepared:
    """Our module in eager PyTorch, where a bit is a float."""
    require("train", "torch")
    from netsuke.models import create_model

    return _eager(request, create_model(request["model"], num_classes=request["classes"]).eval())


def torch_float(request: dict[str, Any]) -> Prepared:
    require("train", "torch")
    from netsuke.cli.counterpart import float_counterpart, fold_batch_norm

    return _eager(request, fold_batch_norm(float_counterpart(request["model"], request["classes"])))


def _eager(request: dict[str, Any], module: nn.Module) -> Prepared:
    import torch

    torch.set_num_threads(request["threads"])
    images = torch.from_numpy(_images(request))

    def run() -> object:
        with torch.inference_mode():
            return module(images)

    return run, {"precision": "float32", "version": torch.__version__}


def onnxruntime_f32(request: dict[str, Any]) -> Prepared:
    return _onnxruntime(request, request["onnx"], "float32")


def onnxruntime_int8(request: dict[str, Any]) -> Prepared:
    """The network that `quantise_for_onnxruntime` made."""
    return _onnxruntime(request, request["onnxruntime_int8"], "int8")


def _onnxruntime(request: dict[str, Any], file: str, precision: str) -> Prepared:
    require("bench", "onnxruntime")
    import onnxruntime

    session = onnxruntime_session(request, file)
    images = {session.get_inputs()[0].name: _images(request)}
    return _tried(lambda: session.run(None, images)), {"precision": precision, "version": onnxruntime.__version__}


def onnxruntime_session(request: dict[str, Any], file: str) -> Any:
    """ONNX Runtime's network, from a file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common public class
        raise Error(f"ONNX Runtime does not take {file}: {first_line(error)}") from None


def openvino_f32(request: dict[str, Any]) -> Prepared:
    return _openvino(request, request["onnx"], "float32", "f32")


def openvino_bf16(request: dict[str, Any]) -> Prepared:
    return _openvino(request, request["onnx"], "bfloat16", "bf16")


def openvino_int8(request: dict[str, Any]) -> Prepared:
    """The network that `quantise_for_openvino` made; what is not int8 in it runs as OpenVINO likes best."""
    return _openvino(request, request["openvino_int8"], "int8")


def _openvino(request: dict[str, Any], file: str, precision: str, hint: str | None = None) -> Prepared:
    require("bench", "openvino")
    import openvino

    compiled = openvino_compiled(request, file, hint)
    inference, images = compiled.create_infer_request(), _images(request)
    return _tried(lambda: inference.infer([images])), {
        "precision": precision,
        "version": openvino.__version__.split("-")[0],
        "isa": os.environ.get("DNNL_MAX_CPU_ISA"),
        "kernel": _convolution_kernel(compiled),
    }


def openvino_compiled(request: dict[str, Any], file: str, hint: str | None = None) -> Any:
    """OpenVINO's network, from a file. hint: the precision to run in, None for OpenVINO's own choice."""
    import openvino

    core = openvino.Core()
    if hint == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Error("OpenVINO does not run bfloat16 on this processor: leave it out")
    settings = {
        "INFERENCE_NUM_THREADS": request["threads"],
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # the process is pinned already
    }
    if hint is not None:
        settings["INFERENCE_PRECISION_HINT"] = hint
    try:
        model = core.read_model(file)
        model.reshape([request["batch"], *request["input"]])
        return core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        what = str(error).strip().rpartition("\n")[2]  # before it, where in OpenVINO's source that was
        raise Error(f"OpenVINO does not take {file}: {what[:200]}") from None


def _convolution_kernel(compiled: Any) -> str | None:
    """OpenVINO's name of the kernel that runs most convolutions, as in brgconv_avx512_I8; it tells what really ran."""
    nodes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kernels = [info["primitiveType"].astype(str) for info in nodes if info["layerType"].astype(str) == "Convolution"]
    return Counter(kernels).most_common(1)[0][0] if kernels else None


def _tried(run: Callable[[], object]) -> Callable[[], object]:
    """The same function, run once: a model of another input shape is refused here, not in the middle of the race."""
    try:
        run()
    except Exception as error:
        raise Error(f"it does not run on images of the file's shape: {first_line(error)}") from None
    return run


CANDIDATES: dict[str, Callable[[dict[str, Any]], Prepared]] = {
    "torch_binary": torch_binary,
    "torch_float": torch_float,
    "onnxruntime_f32": onnxruntime_f32,
    "onnxruntime_int8": onnxruntime_int8,
    "openvino_f32": openvino_f32,
    "openvino_bf16": openvino_bf16,
    "openvino_int8": openvino_int8,
}
NEED_REGISTRY = ("torch_binary", "torch_float")
NEED_ONNX = ("onnxruntime_f32", "onnxruntime_int8", "openvino_f32", "openvino_bf16", "openvino_int8")


def prepare_candidate(request: dict[str, Any]) -> Prepared:
    """What to run, and the facts about it. Raises Error if this candidate cannot run here."""
    if request["candidate"] == "netsuke":
        return netsuke(request)
    return CANDIDATES[request["candidate"]](request)


__all__ = ["CANDIDATES", "NEED_ONNX", "NEED_REGISTRY", "prepare_candidate"]
