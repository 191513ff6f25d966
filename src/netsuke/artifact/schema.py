"""Between a graph and its JSON object (docs/format.md, section 3): one small writer and one small reader a type.

Arrays stand in the object as ranges of two tensors, `float32` and `bits`. The reader checks the form (keys, types,
ranges); `infer.py` checks the sense.
"""

from __future__ import annotations

from math import prod
from reprlib import repr as shorten
from typing import Any

import numpy as np

from .contract import MAX_CHANNELS, MAX_SHARED, Error
from .graph import (
    Add,
    Affine,
    AveragePool,
    Binarize,
    BinaryConv2d,
    Clamp,
    Concat,
    Conv2d,
    Convolution,
    Detect,
    FixedAveragePool,
    FixedConv2d,
    FixedCopy,
    FixedMaxPool,
    Gather,
    Graph,
    Identity,
    InputTransform,
    Int8Conv2d,
    Logic,
    MaxPool,
    Mean,
    Multiply,
    Node,
    Normalize,
    Output,
    PadChannels,
    Quantize,
    Sigmoid,
    Step,
    Store,
    ToFixed,
    TwoSlope,
)
from .infer import Inference, check_bits, infer, name_node
from .pools import Pools, expand, numbers


# ----------------------------------------------------------------------------------------------- writing
def to_json(graph: Graph, pools: Pools) -> dict[str, Any]:
    """The JSON object of a graph; its arrays are added to the pools, whose `finish` completes the object.

    Raises:
        Error: the graph breaks a rule of docs/format.md section 3.
    """
    infer(graph)
    inputs: dict[str, Any] = {"shape": [int(n) for n in graph.input_shape]}
    if graph.transform is not None:
        inputs["transform"] = _transform_to_json(graph.transform, pools)
    return {
        "coded": pools.coded,
        "input": inputs,
        "model": graph.model,
        "nodes": [_node_to_json(node, pools) for node in graph.nodes],
        "outputs": [{"rank": int(output.rank), "value": int(output.value)} for output in graph.outputs],
    }


def _transform_to_json(transform: InputTransform, pools: Pools) -> dict[str, Any]:
    fit = {} if transform.fit == "shorter" else {"fit": transform.fit}
    return {
        **fit,
        "crop": int(transform.crop),
        "interpolation": transform.interpolation,
        "order": transform.order,
        "resize": int(transform.resize),
        "scale": pools.floats(transform.scale),
        "shift": pools.floats(transform.shift),
    }


def _node_to_json(node: Node, pools: Pools) -> dict[str, Any]:
    common = {"inputs": [int(index) for index in node.inputs], "name": node.name}
    if isinstance(node, Convolution):
        own = _convolution_to_json(node, pools)
    elif isinstance(node, MaxPool):
        own = {"op": "max_pool", **_window_to_json(node)}
    elif isinstance(node, AveragePool):
        own = {"op": "average_pool", "divisor": node.divisor, **_window_to_json(node)}
    elif isinstance(node, FixedMaxPool | FixedAveragePool):
        own = {
            "op": "fixed_max_pool" if isinstance(node, FixedMaxPool) else "fixed_average_pool",
            **_window_to_json(node),
        }
    elif isinstance(node, PadChannels | FixedCopy):
        op = "pad_channels" if isinstance(node, PadChannels) else "fixed_copy"
        own = {"op": op, "before": int(node.before), "after": int(node.after)}
    elif isinstance(node, Gather):
        own = {"op": "gather", "pieces": [[int(n) for n in piece] for piece in node.pieces]}
    elif isinstance(node, Logic):
        own = {"op": "logic", "kind": node.kind}
    elif isinstance(node, Normalize):
        own = {"op": "normalize", "eps": pools.floats(np.array([node.eps], np.float32))}
    elif isinstance(node, Detect):
        own = _detect_to_json(node, pools)
    else:
        own = {"op": "concat" if isinstance(node, Concat) else "identity"}
    return {**common, **own, "epilogue": [_step_to_json(step, pools) for step in node.epilogue]}


def _convolution_to_json(node: Convolution, pools: Pools) -> dict[str, Any]:
    own = {
        "op": "conv2d",
        "bias": _zeros_or(node.bias, pools),
        "channels": node.weight.shape[0],
        "dilation": [int(n) for n in node.dilation],
        "groups": int(node.groups),
        "kernel": list(node.weight.shape[1:3]),
        "padding": [int(n) for n in node.padding],
        "stride": [int(n) for n in node.stride],
    }
    if isinstance(node, Conv2d):
        scale = [0, 0] if node.weight_scale is None else pools.floats(node.weight_scale)
        return {**own, "weight": pools.weight(node.weight), "weight_scale": scale}
    if isinstance(node, FixedConv2d):
        return {
            **own,
            "op": "fixed_conv2d",
            "bits": int(node.bits),
            "weight": pools.integers(node.weight, f"int{node.bits}"),
            "weight_scale": pools.floats(node.weight_scale),
        }
    if isinstance(node, Int8Conv2d):
        return {
            **own,
            "op": "int8_conv2d",
            "activation": pools.floats(np.array([node.activation_scale], np.float32)),
            "bits": int(node.bits),
            "weight": pools.integers(node.weight, f"int{node.bits}"),
            "weight_scale": pools.floats(node.weight_scale),
            "zero": int(node.zero),
        }
    mode = {} if node.padding_mode == "zeros" else {"padding_mode": node.padding_mode}
    return {
        **own,
        **mode,
        "op": "binary_conv2d",
        "activation": pools.floats(np.array([node.alpha_a, node.gamma], np.float32)),
        "weight": pools.integers(node.weight, "bits"),
        "weight_offset": _zeros_or(node.beta_w, pools),
        "weight_scale": pools.floats(node.alpha_w),
    }


def _detect_to_json(node: Detect, pools: Pools) -> dict[str, Any]:
    return {
        "op": "detect",
        "candidates": int(node.candidates),
        "keep": int(node.keep),
        "labels": list(node.labels),
        "shapes": [pools.floats(shapes.reshape(-1)) for shapes in node.shapes],
        "steps": pools.floats(np.concatenate(node.steps)),
        "thresholds": pools.floats(np.array([node.score_threshold, node.iou_threshold], np.float32)),
        "variances": pools.floats(node.variances),
    }


def _zeros_or(array: np.ndarray, pools: Pools) -> list[int]:
    positive_zeros = not any(array.tobytes())  # -0.0 is another number
    return [0, 0] if positive_zeros else pools.floats(array)


def _window_to_json(node: MaxPool | AveragePool | FixedMaxPool | FixedAveragePool) -> dict[str, Any]:
    return {name: [int(n) for n in getattr(node, name)] for name in ("kernel", "padding", "stride")}


def _step_to_json(step: Step, pools: Pools) -> dict[str, Any]:
    if isinstance(step, Affine):
        return {"op": "affine", "scale": pools.floats(step.scale), "shift": pools.floats(step.shift)}
    if isinstance(step, Add):
        return {"op": "add", "value": int(step.value)}
    if isinstance(step, Multiply):
        return {"op": "multiply", "value": int(step.value)}
    if isinstance(step, Sigmoid):
        return {"op": "sigmoid"}
    if isinstance(step, Mean):
        return {"op": "mean", "out": int(step.out)}
    if isinstance(step, TwoSlope):
        return {"op": "two_slope", "negative": pools.floats(step.negative), "positive": pools.floats(step.positive)}
    if isinstance(step, Clamp):
        return {"op": "clamp", "high": pools.floats(step.high), "low": pools.floats(step.low)}
    if isinstance(step, Store):
        return {"op": "store", "out": int(step.out)}
    if isinstance(step, ToFixed):
        codes = {
            "bits": int(step.bits),
            "scale": pools.floats(np.array([step.scale], np.float32)),
            "zero": int(step.zero),
        }
        return {"op": "to_fixed", "out": int(step.out), **codes}
    if isinstance(step, Quantize):
        multiplier = pools.floats(np.array([step.multiplier], np.float32))
        codes = {"bits": int(step.bits), "multiplier": multiplier, "zero": int(step.zero)}
        return {"op": "quantize", "out": int(step.out), **codes}
    threshold = pools.floats(step.threshold)
    return {"op": "binarize", "flip": int(step.flip), "out": int(step.out), "threshold": threshold}


# ----------------------------------------------------------------------------------------------- reading
def from_json(root: Any, floats: np.ndarray, bits: np.ndarray) -> Graph:
    """The graph of a JSON object, checked. Its float arrays are views of `floats`, 8-bit weights of `bits`.

    Args:
        root: what `canonical_json.parse` returned.
        floats: the file's `float32` tensor, shape (n,).
        bits: the file's `bits` tensor, uint8 of shape (n,).

    Raises:
        Error: the object or what it says breaks a rule of docs/format.md section 3.
    """
    _keys(root, "the graph", "coded", "input", "model", "nodes", "outputs")
    return _Reader(*expand(root["coded"], floats, bits)).graph(root)


class _Reader:
    def __init__(self, floats: np.ndarray, bits: np.ndarray) -> None:
        self._floats = floats
        self._bits = bits
        self._floats_left = len(floats) + MAX_SHARED
        self._bits_left = len(bits) + MAX_SHARED

    def graph(self, root: Any) -> Graph:
        image = root["input"]
        if not isinstance(image, dict) or "transform" in image:
            _keys(image, "`input`", "shape", "transform")
        else:
            _keys(image, "`input`", "shape")
        shape = numbers(image["shape"], 3)
        transform = self.transform(image["transform"], shape[0]) if "transform" in image else None
        inference = Inference(root["model"], shape, transform)
        nodes = []
        for position, entry in enumerate(_list(root["nodes"])):
            with name_node(position, entry.get("name") if isinstance(entry, dict) else entry):
                nodes.append(self.node(entry, inference))
        outputs = [self.output(entry) for entry in _list(root["outputs"])]
        inference.finish(outputs)
        return Graph(root["model"], (shape[0], shape[1], shape[2]), nodes, outputs, transform)

    def transform(self, entry: Any, channels: int) -> InputTransform:
        fit = ("fit",) if isinstance(entry, dict) and "fit" in entry else ()
        _keys(entry, "the transform", "crop", *fit, "interpolation", "order", "resize", "scale", "shift")
        if fit and entry["fit"] == "shorter":
            raise Error("a fit of shorter is not written")
        return InputTransform(
            scale=self.floats(entry["scale"], channels),
            shift=self.floats(entry["shift"], channels),
            order=entry["order"],
            resize=entry["resize"],
            crop=entry["crop"],
            interpolation=entry["interpolation"],
            fit=entry.get("fit", "shorter"),
        )

    def output(self, entry: Any) -> Output:
        _keys(entry, "an output", "rank", "value")
        return Output(value=entry["value"], rank=entry["rank"])

    def node(self, entry: Any, inference: Inference) -> Node:
        """The next node, checked. `inference` knows the values before it and so the lengths of its arrays."""
        op = entry.get("op") if isinstance(entry, dict) else None
        if not isinstance(op, str) or op not in _NODE_KEYS:
            raise Error(f"its op {shorten(op)} is none of {', '.join(_NODE_KEYS)}")
        own_keys = _NODE_KEYS[op]
        if op == "binary_conv2d" and "padding_mode" in entry:
            own_keys = (*own_keys, "padding_mode")
        _keys(entry, f"a {op} node", "epilogue", "inputs", "name", "op", *own_keys)
        inputs = _list(entry["inputs"])
        own: dict[str, Any]
        if op in _CONVOLVED:
            if len(inputs) != 1:
                raise Error(f"a {op} node has one input, not {len(inputs)}")
            own = self.convolution(entry, inference.value(inputs[0], _CONVOLVED[op]).shape[0])
        elif op in _POOLS:
            own = {name: tuple(numbers(entry[name], count)) for name, count in _WINDOW_KEYS.items()}
            own |= {"divisor": entry["divisor"]} if op == "average_pool" else {}
        elif op == "normalize":
            own = {"eps": float(self.floats(entry["eps"], 1)[0])}
        elif op == "detect":
            own = self.detect(entry, [inference.value(index, "float32").shape[0] for index in inputs])
        else:
            own = {name: entry[name] for name in own_keys}
        node: Node = _NODE_TYPES[op](name=entry["name"], inputs=inputs, **own)
        shape = inference.add_result(node)
        if isinstance(node, Gather):
            node.pieces = [tuple(piece) for piece in node.pieces]
        node.epilogue = [self.step(step, shape[0]) for step in _list(entry["epilogue"])]
        inference.add_epilogue(node, shape)
        return node

    def convolution(self, entry: dict[str, Any], input_channels: int) -> dict[str, Any]:
        """The own fields of a convolution over a value of `input_channels`."""
        channels, groups = numbers([entry["channels"], entry["groups"]], 2)
        if not 1 <= channels <= MAX_CHANNELS:
            raise Error(f"its output channels are 1 to {MAX_CHANNELS}, not {channels}")
        if groups == 0 or input_channels % groups:
            raise Error(f"its {input_channels} input channels are not divisible by {groups} groups")
        shape = (channels, *numbers(entry["kernel"], 2), input_channels // groups)
        own = {
            "stride": tuple(numbers(entry["stride"], 2)),
            "padding": tuple(numbers(entry["padding"], 4)),
            "dilation": tuple(numbers(entry["dilation"], 2)),
            "groups": groups,
            "bias": self.floats_or_zeros(entry["bias"], channels),
        }
        if entry["op"] == "conv2d":
            scale = entry["weight_scale"]
            return {
                **own,
                "weight": self.floats(entry["weight"], prod(shape)).reshape(shape),
                "weight_scale": None if scale == [0, 0] else self.floats(scale, channels),
            }
        if entry["op"] == "fixed_conv2d":
            return {
                **own,
                "weight": self.integers(entry["weight"], entry["bits"], shape),
                "bits": entry["bits"],
                "weight_scale": self.floats(entry["weight_scale"], 1, channels),
            }
        if entry["op"] == "int8_conv2d":
            return {
                **own,
                "weight": self.integers(entry["weight"], entry["bits"], shape),
                "bits": entry["bits"],
                "weight_scale": self.floats(entry["weight_scale"], channels),
                "activation_scale": float(self.floats(entry["activation"], 1)[0]),
                "zero": entry["zero"],
            }
        alpha_a, gamma = self.floats(entry["activation"], 2)
        mode = entry.get("padding_mode", "zeros")
        if "padding_mode" in entry and mode == "zeros":
            raise Error("a padding_mode of zeros is not written")
        return {
            **own,
            "padding_mode": mode,
            "weight": self.signs(entry["weight"], shape),
            "alpha_w": self.floats(entry["weight_scale"], channels),
            "beta_w": self.floats_or_zeros(entry["weight_offset"], channels),
            "alpha_a": float(alpha_a),
            "gamma": float(gamma),
        }

    def detect(self, entry: dict[str, Any], channels: list[int]) -> dict[str, Any]:
        """The own fields of a detect over values of so many channels: locations, logits, locations, ..."""
        shapes = _list(entry["shapes"])
        if len(channels) != 2 * len(shapes):
            raise Error(f"a detect of {len(shapes)} maps has twice as many inputs, not {len(channels)}")
        steps = self.floats(entry["steps"], 2 * len(shapes))
        score_threshold, iou_threshold = self.floats(entry["thresholds"], 2)
        return {
            "labels": _list(entry["labels"]),
            "shapes": [
                self.floats(one, located // 4 * 2).reshape(-1, 2)
                for one, located in zip(shapes, channels[::2], strict=True)
            ],
            "steps": list(steps.reshape(-1, 2)),
            "variances": self.floats(entry["variances"], 2),
            "score_threshold": float(score_threshold),
            "iou_threshold": float(iou_threshold),
            "candidates": entry["candidates"],
            "keep": entry["keep"],
        }

    def step(self, entry: Any, channels: int) -> Step:
        op = entry.get("op") if isinstance(entry, dict) else None
        if not isinstance(op, str) or op not in _STEP_KEYS:
            raise Error(f"the step {shorten(op)} is none of {', '.join(_STEP_KEYS)}")
        _keys(entry, f"a step {op}", "op", *_STEP_KEYS[op])
        if op == "affine":
            return Affine(self.floats(entry["scale"], channels), self.floats(entry["shift"], channels))
        if op == "add":
            return Add(entry["value"])
        if op == "multiply":
            return Multiply(entry["value"])
        if op == "sigmoid":
            return Sigmoid()
        if op == "mean":
            return Mean(entry["out"])
        if op == "two_slope":
            return TwoSlope(self.floats(entry["positive"], channels), self.floats(entry["negative"], channels))
        if op == "clamp":
            return Clamp(self.floats(entry["low"], channels), self.floats(entry["high"], channels))
        if op == "store":
            return Store(entry["out"])
        if op == "to_fixed":
            return ToFixed(float(self.floats(entry["scale"], 1)[0]), entry["zero"], entry["out"], entry["bits"])
        if op == "quantize":
            return Quantize(float(self.floats(entry["multiplier"], 1)[0]), entry["zero"], entry["out"], entry["bits"])
        if entry["flip"] not in (0, 1):
            raise Error(f"`flip` is 0 or 1, not {shorten(entry['flip'])}")
        return Binarize(self.floats(entry["threshold"], 1, channels), entry["flip"] == 1, entry["out"])

    # ------------------------------------------------------------------------------------------- ranges
    def floats(self, entry: Any, *lengths: int) -> np.ndarray:
        """The range `F[n]`, n being one of `lengths`."""
        offset, count = _range(entry, len(self._floats), *lengths)
        self._floats_left -= count
        if self._floats_left < 0:
            raise Error(f"ranges of the float32 tensor are shared for more than {MAX_SHARED} elements")
        return self._floats[offset : offset + count]

    def floats_or_zeros(self, entry: Any, length: int) -> np.ndarray:
        """The range `F[length]` or `F[0]`, which is written [0, 0]."""
        if entry == [0, 0]:
            return np.zeros(length, np.float32)
        return self.floats(entry, length)

    def bytes(self, entry: Any, length: int) -> np.ndarray:
        """The range `B[length]`, uint8."""
        offset, _ = _range(entry, len(self._bits), length)
        self._bits_left -= length
        if self._bits_left < 0:
            raise Error(f"ranges of the bits tensor are shared for more than {MAX_SHARED} bytes")
        return self._bits[offset : offset + length]

    def integers(self, entry: Any, bits: Any, shape: tuple[int, ...]) -> np.ndarray:
        """The range `B[ceil(n * bits / 8)]` as n numbers, int8 of `shape`."""
        count = prod(shape)
        if check_bits(bits) == 8:
            return self.bytes(entry, count).view(np.int8).reshape(shape)
        pairs = self.bytes(entry, (count + 1) // 2)
        halves = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)
        if halves[count:].any():
            raise Error("there is half a byte past the end of its weight that is not 0")
        return ((halves[:count] ^ 8).astype(np.int8) - np.int8(8)).reshape(shape)

    def signs(self, entry: Any, shape: tuple[int, ...]) -> np.ndarray:
        """The range `B[ceil(n / 8)]` as n signs, int8 of `shape`."""
        count = prod(shape)
        ones = np.unpackbits(self.bytes(entry, (count + 7) // 8), bitorder="little")
        if ones[count:].any():
            raise Error("a bit past the end of its weight is not 0")
        return (2 * ones[:count].astype(np.int8) - 1).reshape(shape)


_WINDOW_KEYS = {"kernel": 2, "padding": 4, "stride": 2}
# op and kind of its input
_CONVOLVED = {"conv2d": "float32", "binary_conv2d": "bits", "int8_conv2d": "uint8", "fixed_conv2d": "fixed"}
_POOLS = ("max_pool", "average_pool", "fixed_max_pool", "fixed_average_pool")
_CONVOLUTION_KEYS = ("bias", "channels", "dilation", "groups", "kernel", "padding", "stride", "weight")
_NODE_KEYS: dict[str, tuple[str, ...]] = {
    "conv2d": (*_CONVOLUTION_KEYS, "weight_scale"),
    "binary_conv2d": (*_CONVOLUTION_KEYS, "activation", "weight_offset", "weight_scale"),
    "int8_conv2d": (*_CONVOLUTION_KEYS, "activation", "bits", "weight_scale", "zero"),
    "fixed_conv2d": (*_CONVOLUTION_KEYS, "bits", "weight_scale"),
    "fixed_max_pool": tuple(_WINDOW_KEYS),
    "fixed_average_pool": tuple(_WINDOW_KEYS),
    "fixed_copy": ("after", "before"),
    "max_pool": tuple(_WINDOW_KEYS),
    "average_pool": ("divisor", *_WINDOW_KEYS),
    "normalize": ("eps",),
    "pad_channels": ("after", "before"),
    "concat": (),
    "gather": ("pieces",),
    "logic": ("kind",),
    "detect": ("candidates", "keep", "labels", "shapes", "steps", "thresholds", "variances"),
    "identity": (),
}
_NODE_TYPES: dict[str, Any] = {
    "conv2d": Conv2d,
    "binary_conv2d": BinaryConv2d,
    "int8_conv2d": Int8Conv2d,
    "fixed_conv2d": FixedConv2d,
    "fixed_max_pool": FixedMaxPool,
    "fixed_average_pool": FixedAveragePool,
    "fixed_copy": FixedCopy,
    "max_pool": MaxPool,
    "average_pool": AveragePool,
    "normalize": Normalize,
    "pad_channels": PadChannels,
    "concat": Concat,
    "gather": Gather,
    "logic": Logic,
    "detect": Detect,
    "identity": Identity,
}
_STEP_KEYS: dict[str, tuple[str, ...]] = {
    "affine": ("scale", "shift"),
    "add": ("value",),
    "multiply": ("value",),
    "sigmoid": (),
    "mean": ("out",),
    "two_slope": ("negative", "positive"),
    "clamp": ("high", "low"),
    "binarize": ("flip", "out", "threshold"),
    "quantize": ("bits", "multiplier", "out", "zero"),
    "to_fixed": ("bits", "out", "scale", "zero"),
    "store": ("out",),
}


def _keys(entry: Any, what: str, *keys: str) -> None:
    if not isinstance(entry, dict) or set(entry) != set(keys):
        found = ", ".join(entry) if isinstance(entry, dict) else type(entry).__name__
        raise Error(f"{what} has the keys {', '.join(sorted(keys))}, not {shorten(found)}")


def _list(entry: Any) -> list[Any]:
    if not isinstance(entry, list):
        raise Error(f"an array is expected, not {shorten(entry)}")
    return entry


def _range(entry: Any, length: int, *counts: int) -> tuple[int, int]:
    offset, count = numbers(entry, 2)
    if count not in counts or offset + count > length:
        wanted = " or ".join(str(count) for count in counts)
        raise Error(f"the range {entry} is not {wanted} long or does not lie inside its tensor of {length}")
    return offset, count
