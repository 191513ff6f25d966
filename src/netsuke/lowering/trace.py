"""The captured module in float64, value by value: what every node of the graph is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import fx

from netsuke import artifact
from netsuke.lowering import ops
from netsuke.lowering.export import Lowered


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.results: dict[str, Any] = {}
        self.inputs: dict[str, tuple[Any, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = self.results[n.name] = super().run_node(n)
        if n.op == "call_function":
            self.inputs[n.name] = self.fetch_args_kwargs_from_env(n)[0]
        return result

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def trace64(lowered: Lowered, images: np.ndarray) -> dict[int, np.ndarray]:
    """Run the captured module in float64 and return the graph's values by id.

    images: (N, C, H, W), normalised. A float32 value comes as float64 (N, C, H, W), a bits value as int8, -1 or +1, and
    codes as uint8. Values that the module has no tensor for are left out.
    """
    return trace64_decided(lowered, images)[0]


def trace64_decided(
    lowered: Lowered, images: np.ndarray
) -> tuple[dict[int, np.ndarray], dict[int, tuple[np.ndarray, np.ndarray]], dict[int, np.ndarray]]:
    """`trace64`; for each bits value what the module binarizes, (N, C, H, W), and its threshold, (1,) or (C,); and for
    each value of codes the numbers that were rounded to them.
    """
    recorder = _Recorder(lowered.captured.module)
    with torch.no_grad():
        recorder.run(torch.from_numpy(np.asarray(images, np.float64)))
    values: dict[int, np.ndarray] = {}
    binarized: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    rounded: dict[int, np.ndarray] = {}
    for index, value in enumerate(artifact.infer(lowered.graph)):
        origin = lowered.origin.get(index)
        if origin is None or origin.padded:
            continue
        result = recorder.results[origin.name]
        result = result[0] if isinstance(result, tuple) else result  # batch norm returns its statistics too
        if origin.signs:
            # What is binarized: of ops.binarize its operand; everything else there only moves or combines signs.
            args = recorder.inputs[origin.name]
            alone = len(args) == 3 and isinstance(args[2], float)
            before, threshold = (args[0], args[1].numpy()) if alone else (result, np.zeros(1))
            result = result.to(torch.int8)
            binarized[index] = (before.reshape(len(images), *value.shape).numpy(), threshold)
        elif origin.bits:
            args = recorder.inputs[origin.name]  # of ops.binary_conv2d or ops.binary_linear
            result = ops.activation_signs(args[0], args[5], args[6]).to(torch.int8)
            binarized[index] = (args[0].reshape(len(images), *value.shape).numpy(), args[5].numpy())
        values[index] = result.reshape(len(images), *value.shape).numpy()
        if origin.coding is not None:
            code = origin.coding
            rounded[index] = values[index] / code.scale + code.zero
            values[index] = np.rint(np.clip(rounded[index], 0, (1 << code.bits) - 1)).astype(np.uint8)
    return values, binarized, rounded
