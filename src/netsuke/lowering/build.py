"""The first graph of a captured module: one node an operator, every result stored, constants in float64."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from netsuke.artifact.contract import MAX_INPUTS, MAX_NAME, Error, first_line
from netsuke.artifact.graph import Binarize, Conv2d, Gather, Graph, Identity, Logic, Mean, Node, Output, Step, Store
from netsuke.lowering.capture import Captured
from netsuke.nn.coding import Coding
from netsuke.nn.quantized import fits

MOST_RUNS = 64  # in turn, of a gather's piece
Padding = tuple[int, int, int, int]
NO_PADDING: Padding = (0, 0, 0, 0)


_PACKAGES = tuple(
    str(Path(root).resolve()) + os.sep for root in (Path(torch.__file__).parent, Path(__file__).parents[1])
)


@dataclass(frozen=True)
class Map:
    """A tensor that depends on the input: value `value` of the graph, of size (C, H, W).

    shape: torch's shape of one image, which keeps the order of elements: (C, H, W), (C * H * W,), (C, 1, 1, 1), ...
    padding: zeros around it (top, left, bottom, right) that the next convolution or pool takes over.
    features: (scale, shift), each (C * H * W,), of a flattened map, that the next linear layer takes over.
    coding: the codes that the next layer reads of it, where they were trained with that layer.
    bits: the id of a bits value, where the map is that value's signs.
    taken: the maps, and which of all their channels this one is.
    """

    value: int
    size: tuple[int, int, int]
    shape: tuple[int, ...]
    padding: Padding = NO_PADDING
    features: tuple[np.ndarray, np.ndarray] | None = None
    coding: Coding | None = None
    bits: int | None = None
    taken: tuple[list[Map], np.ndarray] | None = None


class BatchSize:
    """Stands for numbers that only the batch decides."""


BATCH = BatchSize()


@dataclass
class Origin:
    """Where a graph value is found in the captured graph: the result of node `name`, or (bits) what it binarizes.

    signs: the value is the bits of the result, all of it signs.

    coding: where the value is codes of the result.

    padded: the result also has zeros around the map, which the graph leaves to the next convolution.
    """

    name: str
    bits: bool = False
    signs: bool = False
    padded: bool = False
    coding: Coding | None = None


@dataclass
class Built:
    """graph: unfused, its arrays float64. origin: value id -> where it comes from, for tests and traces.

    codings: by layer, of those that were trained quantized.
    """

    graph: Graph
    origin: dict[int, Origin] = field(default_factory=dict)
    codings: dict[str, Coding] = field(default_factory=dict)


Handler = Callable[..., Any]
HANDLERS: dict[str, Handler] = {}
INSTEAD: dict[str, str] = {
    "aten.mean.default": ": the mean over height and width is, x.mean((2, 3))",
    "aten.squeeze.default": ": flatten(1) and squeeze with the dimensions named are",
    "aten.amax.default": ": max_pool2d over the whole map is",
    "aten.adaptive_max_pool2d.default": ": max_pool2d with its kernel given is",
}
TAKES_SIZES: set[str] = set()  # the operators whose arguments may hold BATCH


def handles(*names: str, sizes: bool = False) -> Callable[[Handler], Handler]:
    """Register a function (builder, *args) -> Map for operators such as "aten.relu.default".

    sizes: whether it is told sizes, which may be the batch's. No other handler ever sees BATCH.
    """

    def register(handler: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = handler
            if sizes:
                TAKES_SIZES.add(name)
        return handler

    return register


class Builder:
    """Walks the captured graph once. `node` is the captured node in hand."""

    def __init__(self, captured: Captured, model: str) -> None:
        self.captured = captured
        self.graph = Graph(model, captured.input_shape, [], [])
        self.origin: dict[int, Origin] = {0: Origin("")}
        self.codings: dict[str, Coding] = {}
        self.values = 1
        self.node: fx.Node

    # ---------------------------------------------------------------------------------------- for handlers
    def add(self, node: Node, size: tuple[int, int, int], shape: tuple[int, ...] | None = None, *steps: Step) -> Map:
        """Append `node`, run `steps` on its result, and store it."""
        out = self._new_value(Origin(self.node.name))
        node.epilogue = [*steps, Store(out)]
        self.graph.nodes.append(node)
        return Map(out, size, size if shape is None else shape)

    def step(self, x: Map, *steps: Step) -> Map:
        """Run pointwise steps on x."""
        self.plain(x)
        return self.add(Identity(self.name(), [x.value]), x.size, x.shape, *steps)

    def mean(self, x: Map) -> Map:
        """The mean of every channel of x over the whole map: a map (N, C, 1, 1)."""
        self.plain(x)
        out = self._new_value(Origin(self.node.name))
        self.graph.nodes.append(Identity(self.name(), [x.value], [Mean(out)]))
        size = (x.size[0], 1, 1)
        return Map(out, size, size)

    def binarize(self, x: Map, threshold: np.ndarray, flip: bool, alone: bool = False) -> int:
        """The bits of x: the id of their value. alone: they are the captured node's result, not what it reads."""
        self.plain(x)
        if x.bits is not None and keeps_signs(threshold, flip):
            return x.bits
        out = self._new_value(Origin(self.node.name, bits=not alone, signs=alone))
        self.graph.nodes.append(Identity(self.name() + ".binarize", [x.value], [Binarize(threshold, flip, out)]))
        return out

    def signs(self, bits: int, size: tuple[int, int, int], shape: tuple[int, ...]) -> Map:
        """A bits value as numbers too, which are made where something reads them."""
        return replace(self.add(Gather(self.name(), [bits], pieces=[(size[0], 0)]), size, shape), bits=bits)

    def logic(self, kind: str, x: Map, y: Map) -> Map:
        """x and y: maps of signs, of one shape."""
        assert x.bits is not None
        assert y.bits is not None
        return self._signs_of(Logic(self.name(), [x.bits, y.bits], kind=kind), x.size, x.shape)

    def gather(self, maps: Sequence[Map], index: np.ndarray) -> Map:
        """Channels of maps of one height and width, counted through all of them: bits if all of them are.

        Channels taken of channels that were taken are taken where those were, unless that is a long list.
        """
        size = (len(index), *maps[0].size[1:])
        shape = size if maps[0].shape == maps[0].size else size[:1]
        maps, index = _used(maps, index)
        pieces = pieces_of(index)
        leaves, of_leaves = _leaves(maps)
        leaves, flat = _used(leaves, of_leaves[index])
        pieces_of_leaves = pieces_of(flat)
        if len(leaves) <= MAX_INPUTS and _length(pieces_of_leaves) <= 2 * _length(pieces):
            maps, index, pieces = leaves, flat, pieces_of_leaves
        bits = [m.bits for m in maps if m.bits is not None]
        if len(bits) == len(maps):
            made = self._signs_of(Gather(self.name(), bits, pieces=pieces), size, shape)
        else:
            made = self.add(Gather(self.name(), [m.value for m in maps], pieces=pieces), size, shape)
        return replace(made, taken=(list(maps), index))

    def _signs_of(self, node: Node, size: tuple[int, int, int], shape: tuple[int, ...]) -> Map:
        out = self._new_value(Origin(self.node.name, signs=True))
        return replace(self.add(node, size, shape, Binarize(np.zeros(1), False, out)), bits=out)

    def plain(self, x: Any) -> Map:
        """x, which must be a map of the input with nothing left to take over."""
        if not isinstance(x, Map):
            raise self.refuse("its first operand does not depend on the input")
        if x.padding != NO_PADDING:
            raise self.refuse("zeros padded around a map can only feed a float convolution or an average pool")
        if x.features is not None:
            raise self.refuse("a scale for each element of a flattened map can only feed a float linear layer")
        return x

    def coded(self, node: Conv2d, x: Map) -> Conv2d:
        """`node`, which reads of x the codes that it was trained with, if any."""
        if x.coding is not None:
            if not fits(node.weight):
                raise self.refuse(f"it is quantized, and an output has {node.weight[0].size:,} weights: too many")
            self.codings[node.name] = x.coding
        return node

    def image(self, x: Any) -> Map:
        """x, which must be a map (N, C, H, W); padding may be left."""
        if not isinstance(x, Map) or x.shape != x.size:
            raise self.refuse("it needs a map of shape (N, C, H, W) that depends on the input")
        return x

    def constant(self, value: Any) -> np.ndarray:
        """A number or constant tensor as an array."""
        if not isinstance(value, (Tensor, np.ndarray, int, float)):
            raise self.refuse("one of its operands depends on the input where a number or a constant is needed")
        return value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)

    def per_channel(self, constant: Any, x: Map) -> np.ndarray:
        """A number or constant tensor that broadcasts against x along its channels, as float64 (C,)."""
        array = np.asarray(self.constant(constant), np.float64)
        channels = x.size[0]
        if array.size == 1 and array.ndim <= len(x.shape) + 1:
            return np.full(channels, array.reshape(-1)[0])
        shape = (1,) * (len(x.shape) + 1 - array.ndim) + array.shape
        if shape == (1, channels) + (1,) * (len(x.shape) - 1) and x.shape[0] == channels:
            return array.reshape(channels)
        raise self.refuse(f"a constant of shape {array.shape} is not one number a channel")

    def name(self) -> str:
        """The path of the layer in hand, such as layer1.0.conv1; of a loose operator, its owner's path and its name."""
        stack = self.node.meta.get("nn_module_stack") or {}
        path, kind = list(stack.values())[-1] if stack else ("", "")
        kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        leaf = re.match(r"torch\.nn\.modules\.(?!container)|torch\.nn\.modules\.linear|netsuke\.", kind)
        path = path if leaf and path and "metadata_hook" not in path else f"{path}.{self.node.name}".lstrip(".")
        return re.sub(r'[^ -~]|["\\]', "_", path)[:MAX_NAME]

    def refuse(self, why: str) -> Error:
        """An Error that names the operator in hand and the line of the user's module."""
        operator_name = str(self.node.target).removeprefix("aten.").removesuffix(".default")
        operator_name = operator_name.removeprefix("netsuke.")
        return Error(f"cannot export {operator_name!r}{self._where()}: {why}")

    # ---------------------------------------------------------------------------------------- the walk
    def run(self) -> Built:
        env: dict[fx.Node, Any] = {}
        inputs = 0
        for node in self.captured.module.graph.nodes:
            self.node = node
            if node.op == "placeholder":
                inputs += 1
                self.origin[0] = Origin(node.name)
                env[node] = Map(0, self.captured.input_shape, self.captured.input_shape)
            elif node.op == "get_attr":
                env[node] = _wide(operator.attrgetter(str(node.target))(self.captured.module))
            elif node.op == "call_function":
                env[node] = self._call(node, env)
            elif node.op == "output":
                self._outputs(fx.map_arg(node.args[0], lambda n: env[n]))
        if inputs != 1:
            raise Error(f"the module takes {inputs} inputs: only one image batch is supported")
        return Built(self.graph, self.origin, self.codings)

    def _call(self, node: fx.Node, env: dict[fx.Node, Any]) -> Any:
        args: Any = fx.map_arg(node.args, lambda n: env[n])
        kwargs: Any = fx.map_arg(node.kwargs, lambda n: env[n])
        given = [env[n] for n in node.all_input_nodes]
        value = node.meta.get("val")
        if value is None and not node.users:
            return None  # a check of torch.export's own
        if isinstance(value, (torch.SymInt, torch.SymBool, torch.SymFloat, int, bool, float)):
            return BATCH if isinstance(value, (torch.SymInt, torch.SymBool, torch.SymFloat)) else value
        if node.target is operator.getitem:
            return args[0][args[1]]
        if not any(isinstance(g, (Map, tuple)) for g in given):
            if any(g is BATCH for g in given):
                raise self.refuse("a constant whose size depends on the batch is not supported")
            return _wide(node.target(*args, **kwargs))  # type: ignore[operator]
        handler = HANDLERS.get(str(node.target))
        if handler is None:
            instead = INSTEAD.get(str(node.target), "")
            raise self.refuse(f"the operator is not supported{instead}. docs/operators.md lists what is")
        if str(node.target) not in TAKES_SIZES and BATCH in torch.utils._pytree.tree_leaves((args, kwargs)):
            raise self.refuse("one of its operands is a number made from the batch size, which a file cannot hold")
        first = self.values
        try:
            result = handler(self, *args, **kwargs)
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            raise self.refuse(f"it is not supported with these operands ({first_line(error)})") from error
        self._forget_origins(range(first, self.values), result)
        return result

    def _forget_origins(self, made: range, result: Any) -> None:
        """The last value that a captured node makes is its result; the module has no tensor for those on the way."""
        last = result[0] if isinstance(result, tuple) else result
        for value in made:
            if isinstance(last, Map) and value == last.value:
                self.origin[value].padded = last.padding != NO_PADDING
            elif not self.origin[value].bits and not self.origin[value].signs:
                del self.origin[value]

    def _outputs(self, results: Any) -> None:
        for result in torch.utils._pytree.tree_leaves(results):
            if not isinstance(result, Map):
                raise Error("the module returns something that does not depend on its input: return feature maps only")
            result = self.plain(result)
            rank = len(result.shape) + 1
            if rank == 2 or result.shape == result.size or (*result.shape, 1) == result.size:
                if result.value == 0:
                    result = self.add(Identity("output", [0]), result.size, result.shape)
                    self.origin[result.value] = self.origin[0]
                self.graph.outputs.append(Output(result.value, rank))
            else:
                raise Error(
                    f"the module returns a tensor of shape (N, {_csv(result.shape)}): return (N, F) or (N, C, H, W)"
                )

    def _new_value(self, origin: Origin) -> int:
        self.values += 1
        self.origin[self.values - 1] = origin
        return self.values - 1

    def _where(self) -> str:
        """The module that holds the operator, and the innermost line of the trace that is the user's."""
        stack = self.node.meta.get("nn_module_stack") or {}
        path = list(stack.values())[-1][0] if stack else ""
        of = f" of layer {path!r}" if path else ""
        trace = self.node.meta.get("stack_trace") or ""
        lines = re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n([^\n]*)', trace)
        own = [m for m in lines if not _ours(m[0])]
        if not own:
            return of
        file, number, text = own[-1]
        return f"{of} at {file}:{number} ({text.strip()[:80]})"


def build(captured: Captured, model: str) -> Built:
    """The unfused graph of a captured module. Raises netsuke.Error for what the file format cannot express."""
    from netsuke.lowering import operators  # noqa: F401  registers the handlers

    return Builder(captured, model).run()


def _ours(file: str) -> bool:
    """Whether a line of a trace is torch's or the exporter's own: not the user's, nor a model's of the registry."""
    return file.startswith((*_PACKAGES, "torch/")) or "<" in file


def _wide(value: Any) -> Any:
    """Floating tensors in float64: constants are combined there and rounded once, at the end."""
    if isinstance(value, Tensor):
        value = value.detach()
        return value.double() if value.is_floating_point() else value
    return value


def _csv(shape: tuple[int, ...]) -> str:
    return ", ".join(str(s) for s in shape)


def _length(pieces: list[tuple[int, ...]]) -> int:
    return sum(len(piece) for piece in pieces)


def _leaves(maps: Sequence[Map]) -> tuple[list[Map], np.ndarray]:
    """The maps that these were taken of, and for each channel of these its number in them."""
    leaves: list[Map] = []
    numbers = []
    for m in maps:
        sources, index = m.taken or ([m], np.arange(m.size[0]))
        numbers.append(index + sum(leaf.size[0] for leaf in leaves))
        leaves += sources
    return leaves, np.concatenate(numbers)


def _used(maps: Sequence[Map], index: np.ndarray) -> tuple[list[Map], np.ndarray]:
    """Without maps of which no channel is taken, and each once."""
    of_map = np.repeat(np.arange(len(maps)), [m.size[0] for m in maps])[index]
    first = np.cumsum([0, *(m.size[0] for m in maps)])
    used: list[Map] = []
    begin: dict[int, int] = {}  # of a map's channels, by its value
    for i in np.unique(of_map):
        if maps[i].value not in begin:
            begin[maps[i].value] = sum(m.size[0] for m in used)
            used.append(maps[i])
    return used, np.array([begin[maps[i].value] + n - first[i] for i, n in zip(of_map, index, strict=True)])


def keeps_signs(threshold: np.ndarray, flip: bool) -> bool:
    """Whether signs that are compared with `threshold` stay as they are."""
    return not flip and bool((threshold > -1).all()) and bool((threshold <= 1).all())


def pieces_of(index: np.ndarray) -> list[tuple[int, ...]]:
    """The pieces of a `Gather` that takes these channels: the longest first, by what a number of them says."""
    pieces, at = [], 0
    while at < len(index):
        best: tuple[int, ...] = ()
        share = 0.0
        for runs in range(1, min(MOST_RUNS, len(index) - at) + 1):
            follows = index[at + runs :] == index[at:-runs] + 1
            after = len(follows) if follows.all() else int(follows.argmin())
            count = 1 + after // runs
            if count * runs / (runs + 1) > share:
                share, best = count * runs / (runs + 1), (count, *(int(i) for i in index[at : at + runs]))
        pieces.append(best)
        at += best[0] * (len(best) - 1)
    return pieces


def reshaped(x: Map, shape: tuple[int, ...]) -> Map:
    """The same elements in the same order under another torch shape."""
    return replace(x, shape=shape)
