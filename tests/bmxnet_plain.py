"""BMXNet's network from its two published files alone: the symbol graph, run node by node with torch in float64."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def run_symbol(symbol: Path, arrays: Mapping[str, Tensor], data: Tensor) -> Tensor:
    """The logits (N, classes), in front of the softmax. data: (N, 3, H, W)."""
    nodes = json.loads(symbol.read_text())["nodes"]
    values: list[Tensor] = []
    for node in nodes:
        inputs = [values[entry[0]] for entry in node["inputs"]]
        options = {key: _literal(text) for key, text in node.get("attr", {}).items()}
        if node["op"] == "null":
            kind = "aux" if "moving" in node["name"] else "arg"
            array = data.double() if node["name"] == "data" else arrays.get(f"{kind}:{node['name']}")
            values.append(torch.empty(0) if array is None else array)  # the softmax's label has none
        elif node["op"] == "SoftmaxOutput":
            return inputs[0]
        else:
            values.append(_OPERATORS[node["op"]](options, *inputs))
    raise AssertionError("the graph has no softmax")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text


def _batch_norm(o: Any, x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    gamma = torch.ones_like(gamma) if o["fix_gamma"] else gamma
    return F.batch_norm(x, mean.double(), var.double(), gamma.double(), beta.double(), eps=o["eps"])


def _convolution(o: Any, x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight.double(), None, o["stride"], o["pad"])


def _binary_convolution(o: Any, x: Tensor, words: Tensor) -> Tensor:
    """popcount(xnor): taps where both bits are 1, and taps where both are 0. Zeros are padded, then bits are taken."""
    assert o["binarized_weights_only"]
    assert o["act_bit"] == 1
    bits = np.unpackbits(words.numpy().view(np.uint8), bitorder="little")
    w = torch.from_numpy(bits.astype(np.float64)).view(o["num_filter"], x.shape[1], *o["kernel"])
    down, across = o.get("pad", (0, 0))
    a = (F.pad(x, (across, across, down, down)) >= 0).double()
    return F.conv2d(a, w, None, o["stride"]) + F.conv2d(1 - a, 1 - w, None, o["stride"])


def _pooling(o: Any, x: Tensor) -> Tensor:
    if o.get("global_pool"):
        return x.mean((2, 3), keepdim=True)
    return F.max_pool2d(x, o["kernel"], o["stride"], o["pad"])


_OPERATORS: dict[str, Any] = {
    "BatchNorm": _batch_norm,
    "Convolution": _convolution,
    "QConvolution": _binary_convolution,
    "QActivation": lambda o, x: x,  # backward_only: the convolution takes the signs
    "Activation": lambda o, x: F.relu(x),
    "Pooling": _pooling,
    "elemwise_add": lambda o, x, y: x + y,
    "Flatten": lambda o, x: x.flatten(1),
    "FullyConnected": lambda o, x, weight, bias: F.linear(x, weight.double(), bias.double()),
}
