"""An ONNX graph as it grows: nodes, constants, names that are not taken yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from netsuke.artifact import infer
from netsuke.artifact.graph import Graph, Int8Conv2d
from netsuke.onnx.early import early_codes


@dataclass(frozen=True)
class Tensor:
    """A tensor of the ONNX graph. flat: it has shape (N, C), as what a linear layer makes; else (N, C, H, W)."""

    name: str
    flat: bool = False


class Builder:
    """What is made so far of a netsuke graph.

    kinds: kind and shape of each of its values, by id. early: of `early_codes`. scales: of which multipliers were made,
    by multiplier. values: the tensors made for its values. What a node makes is named after it: its operator's
    result as the node itself, constants behind a dot, all else behind a slash.
    """

    def __init__(self, graph: Graph) -> None:
        self.kinds = infer(graph, for_engine=False)
        self.early = early_codes(graph)
        layers = [node for node in graph.nodes if isinstance(node, Int8Conv2d) and node.activation_scale > 0]
        numbers = [np.float32(node.activation_scale) for node in layers]
        self.scales = {np.float32(1 / float(number)): number for number in numbers}
        self.values: dict[int, Tensor] = {}
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.scope = ""
        self.unit: np.ndarray | None = None  # of the fixed-point node in hand: its numbers are multiples of it
        self._taken: set[str] = set()
        self._shaped: dict[tuple[str, bool], Tensor] = {}

    def enter(self, name: str) -> None:
        """What follows belongs to the node of that name."""
        self.scope = name

    def name(self, wanted: str) -> str:
        """The name itself, or with a number behind it where it is taken."""
        found, number = wanted, 1
        while found in self._taken:
            number += 1
            found = f"{wanted}_{number}"
        self._taken.add(found)
        return found

    def constant(self, name: str, array: np.ndarray | np.generic) -> str:
        return self.tensor(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))

    def tensor(self, tensor: TensorProto) -> str:
        """Add a constant; its name is put behind the scope."""
        tensor.name = self.name(f"{self.scope}.{tensor.name}")
        self.constants.append(tensor)
        return tensor.name

    def op(self, kind: str, inputs: list[str], name: str | None = None, **attributes: Any) -> str:
        """Add a node of one result; return the result's name. name: put behind the scope; None for the scope itself."""
        return self._add(kind, inputs, [self.scope if name is None else f"{self.scope}/{name}"], attributes)[0]

    def ops(self, kind: str, inputs: list[str], names: list[str], **attributes: Any) -> list[str]:
        """Add a node of several results; return their names."""
        return self._add(kind, inputs, [f"{self.scope}/{name}" for name in names], attributes)

    def _add(self, kind: str, inputs: list[str], names: list[str], attributes: dict[str, Any]) -> list[str]:
        results = [self.name(name) for name in names]
        self.nodes.append(helper.make_node(kind, inputs, results, results[0], **attributes))
        return results

    # ------------------------------------------------------------------------------------------- shapes
    def map(self, value: Tensor, channels: int) -> Tensor:
        """The value as (N, C, H, W)."""
        return self._reshaped(value, False, channels) if value.flat else value

    def flat(self, value: Tensor) -> Tensor:
        """The value as (N, C * H * W)."""
        return value if value.flat else self._reshaped(value, True, 0)

    def _reshaped(self, value: Tensor, flat: bool, channels: int) -> Tensor:
        made = self._shaped.get((value.name, flat))
        if made is None:
            if flat:
                result = self.op("Flatten", [value.name], "flat", axis=1)
            else:
                shape = self.constant("shape", np.array([-1, channels, 1, 1], np.int64))
                result = self.op("Reshape", [value.name, shape], "map")
            made = self._shaped[value.name, flat] = Tensor(result, flat)
        return made

    def per_channel(self, name: str, array: np.ndarray, beside: Tensor) -> str:
        """A constant (C,) in the shape that goes with a tensor."""
        return self.constant(name, array if beside.flat else array.reshape(-1, 1, 1))
