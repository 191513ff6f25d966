"""The captured module in float64, value by value: what every node of the graph is compared with."""

from __future__ import annotations

import copy
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
            self.inputs[n.name] = self.fetch_args_kwargs_from_env(n)[0]  # type: ignore[assignment]
        return result


def trace64(lowered: Lowered, images: np.ndarray) -> dict[int, np.ndarray]:
    """Run the captured module in float64 and return the graph's values by id.

    images: (N, C, H, W), normalised. A float32 value comes as float64 (N, C, H, W), a bits value as int8, -1 or +1.
    Values that the module has no tensor for are left out.
    """
    recorder = _Recorder(copy.deepcopy(lowered.captured.module).double())
    with torch.no_grad():
        recorder.run(torch.from_numpy(np.asarray(images, np.float64)))
    values = {}
    for index, value in enumerate(artifact.infer(lowered.graph)):
        origin = lowered.origin.get(index)
        if origin is None:
            continue
        result = recorder.results[origin.name]
        if origin.bits:
            args = recorder.inputs[origin.name]  # of ops.binary_conv2d or ops.binary_linear
            result = ops.activation_signs(args[0], args[5], args[6]).to(torch.int8)
        values[index] = result.reshape(len(images), *value.shape).numpy()
    return values
