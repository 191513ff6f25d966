"""Which channels of a network stand or fall together, followed through the graph that torch.export makes.

Every position along every dimension of a parameter has a label. Operators join labels: an addition those of its two
maps, a concatenation strings them together, a convolution hands on its filters'. Labels that were joined are one
channel, which is removed everywhere or nowhere. What is not understood holds the labels that meet it: they stay.
"""

from __future__ import annotations

import logging
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from netsuke.artifact.contract import Error, first_line

aten = torch.ops.aten
# What stands along one dimension of a value: labels, or the reason why it cannot get shorter.
Along = np.ndarray | str
NO_CHANNEL = "a dimension that holds no channels"
OUTPUT = "the model's output"


@dataclass(frozen=True)
class Product:
    """One run of a convolution or linear layer. name: the module. weight: the parameter's full name.

    outputs, inputs: labels. per_pair: multiply-accumulates of one image for each output channel and each channel that
    it reads. depthwise: whether each output channel reads one input channel. groups: 1 if depthwise.
    """

    name: str
    weight: str
    outputs: np.ndarray
    inputs: np.ndarray
    per_pair: int
    depthwise: bool
    groups: int


@dataclass(frozen=True)
class Norm:
    """One run of a batch norm with scale and shift. weight, bias: full names of the parameters."""

    weight: str
    bias: str
    channels: np.ndarray


class Follower:
    """The labels of one model, after `follow`.

    products, norms: what runs, in running order. labels: parameter or buffer -> what stands along each of its
    dimensions. pads: module with `channel_padding` -> labels of the channels it puts before and after.
    """

    def __init__(self, model: nn.Module, trusting: bool) -> None:
        self.model = model
        self.trusting = trusting
        self.products: list[Product] = []
        self.norms: list[Norm] = []
        self.labels: dict[str, tuple[Along, ...]] = {}
        self.pads: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._parent: list[int] = []
        self._held: list[tuple[np.ndarray, str]] = []
        self._env: dict[fx.Node, tuple[Along, ...]] = {}
        self._names: dict[fx.Node, str] = {}
        self._batch = 1

    # ------------------------------------------------------------------------------------------------ labels
    def new(self, count: int) -> np.ndarray:
        start = len(self._parent)
        self._parent += range(start, start + count)
        return np.arange(start, start + count)

    def roots(self, labels: np.ndarray) -> np.ndarray:
        """One number for each channel: that of the labels it was joined with."""
        return np.array([self._find(int(i)) for i in labels], np.int64)

    def hold(self, along: Along, why: str) -> None:
        """Labels that must stay."""
        if isinstance(along, np.ndarray):
            self._held.append((along, why))

    def held(self) -> dict[int, str]:
        """Root -> the first reason why it stays."""
        found: dict[int, str] = {}
        for labels, why in self._held:
            for root in self.roots(labels).tolist():
                found.setdefault(root, why)
        return found

    def join(self, alongs: Iterable[Along]) -> Along:
        """Of dimensions that run side by side."""
        alongs = list(alongs)
        reasons = [along for along in alongs if isinstance(along, str)]
        labels = [along for along in alongs if isinstance(along, np.ndarray)]
        if reasons:
            for along in labels:
                self.hold(along, reasons[0])
            return reasons[0]
        for other in labels[1:]:
            for a, b in zip(labels[0].tolist(), other.tolist(), strict=True):
                self._parent[self._find(a)] = self._find(b)
        return labels[0]

    def _find(self, label: int) -> int:
        while self._parent[label] != label:
            self._parent[label] = self._parent[self._parent[label]]
            label = self._parent[label]
        return label

    # ------------------------------------------------------------------------------------------------- graph
    def run(self, program: Any, batch: int) -> None:
        signature = program.graph_signature
        self._batch = batch
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        for node in program.graph.nodes:
            if node.op == "placeholder":
                self._placeholder(node, names.get(node.name))
            elif node.op == "output":
                for value in node.all_input_nodes:
                    self._hold_all(value, OUTPUT)
            else:
                self._call(node)

    def _placeholder(self, node: fx.Node, name: str | None) -> None:
        shape = _shape(node)
        if name is None or shape is None:
            self._env[node] = _nothing(node, "the model's input or a constant")
            return
        self._names[node] = name
        if name not in self.labels:
            self.labels[name] = tuple(self.new(n) if n > 1 else "it has one channel" for n in shape)
        self._env[node] = self.labels[name]

    def _call(self, node: fx.Node) -> None:
        target: Any = node.target
        packet = getattr(target, "overloadpacket", target)
        handler = _HANDLERS.get(packet)
        made = None
        if handler is not None:
            made = handler(self, node)
        elif torch.Tag.pointwise in getattr(target, "tags", ()):
            made = self._side_by_side(node)
        if made is None:
            why = f"{target} in {_place(node)} is not followed"
            for value in node.all_input_nodes:
                self._hold_all(value, why)
            made = _nothing(node, why)
        self._env[node] = made

    def _hold_all(self, node: fx.Node, why: str) -> None:
        for along in self._env.get(node, ()):
            self.hold(along, why)

    def _side_by_side(self, node: fx.Node) -> tuple[Along, ...] | None:
        """An operator on each number, with broadcasting."""
        shape = _shape(node)
        if shape is None:
            return None
        result: list[Along] = []
        for back in range(len(shape), 0, -1):  # from the last dimension
            alongs = []
            for value in node.all_input_nodes:
                own = _shape(value) or ()
                if len(own) < back:
                    continue
                along = self._env[value][-back]
                if own[-back] == shape[-back]:
                    alongs.append(along)
                else:
                    self.hold(along, f"one channel for all in {_place(node)}")
            result.append(self.join(alongs))
        return tuple(result)

    def _product(self, node: fx.Node) -> tuple[Along, ...] | None:
        """Convolutions of any dimension (channels second) and linear layers (channels last)."""
        x, weight = node.args[0], node.args[1]
        bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
        if not isinstance(x, fx.Node) or not isinstance(weight, fx.Node):
            return None
        name = self._names.get(weight)
        linear = getattr(node.target, "overloadpacket", None) is aten.linear
        groups = 1 if linear else _argument(node, 6, "groups", 1)
        x_shape, weight_shape, shape = _shape(x), _shape(weight), _shape(node)
        if name is None or x_shape is None or weight_shape is None or shape is None:
            return None
        at = len(x_shape) - 1 if linear else 1
        owner, _, leaf = name.rpartition(".")
        along = [self._env[x][i] if linear else NO_CHANNEL for i in range(len(shape))]
        filters, reads = self._env[weight][:2]
        if isinstance(bias, fx.Node):
            filters = self.join([filters, self._env[bias][0]])
        for kernel in self._env[weight][2:]:
            self.hold(kernel, NO_CHANNEL)
        depthwise = groups > 1 and groups == x_shape[at]
        # The number of groups follows the channels only where it is a module's attribute.
        if depthwise and leaf == "weight" and isinstance(self.model.get_submodule(owner), nn.modules.conv._ConvNd):
            inputs = self._env[x][at]
            if isinstance(inputs, np.ndarray):
                filters = self.join([filters, inputs.repeat(weight_shape[0] // groups)])
            else:
                self.hold(filters, inputs)
        elif groups > 1:
            why = f"{owner or name} works in {groups} groups"
            for side in (filters, reads, self._env[x][at]):
                self.hold(side, why)
            inputs = self._env[x][at]
        else:
            inputs = self.join([self._env[x][at], reads])
            # The input's reason was given to `reads`; the layer's own labels still tell what it reads.
            inputs = reads if isinstance(inputs, str) else inputs
        along[at] = filters
        positions = prod(shape) // (shape[at] * self._batch)
        outputs = filters if isinstance(filters, np.ndarray) else self._fixed(weight_shape[0], filters)
        inputs = inputs if isinstance(inputs, np.ndarray) else self._fixed(x_shape[at], inputs)
        per_pair = positions * prod(weight_shape[2:])
        self.products.append(
            Product(owner or name, name, outputs, inputs, per_pair, depthwise, 1 if depthwise else groups)
        )
        return tuple(along)

    def _fixed(self, count: int, why: str) -> np.ndarray:
        labels = self.new(count)
        self.hold(labels, why)
        return labels

    def _batch_norm(self, node: fx.Node) -> tuple[Along, ...] | None:
        x, *parameters = (a for a in node.args[:5] if isinstance(a, fx.Node))
        along = list(self._env[x])
        along[1] = self.join([along[1], *(self._env[p][0] for p in parameters)])
        names = [self._names.get(a) if isinstance(a, fx.Node) else None for a in node.args[1:3]]
        if names[0] and names[1] and isinstance(along[1], np.ndarray):
            self.norms.append(Norm(names[0], names[1], along[1]))
        return tuple(along)

    def _prelu(self, node: fx.Node) -> tuple[Along, ...] | None:
        x, slopes = node.all_input_nodes
        along = list(self._env[x])
        if (_shape(slopes) or (0,))[0] > 1:
            along[1] = self.join([along[1], self._env[slopes][0]])
        return tuple(along)

    def _pool(self, node: fx.Node) -> tuple[Along, ...] | None:
        x = node.all_input_nodes[0]
        shape = _shape(x) or ()
        return (*self._env[x][:2], *([NO_CHANNEL] * (len(shape) - 2)))

    def _same(self, node: fx.Node) -> tuple[Along, ...] | None:
        x = node.args[0]
        return self._env[x] if isinstance(x, fx.Node) and _shape(x) == _shape(node) else None

    def _reduce(self, node: fx.Node) -> tuple[Along, ...] | None:
        x: Any = node.args[0]
        rank = len(_shape(x) or ())
        dims = _argument(node, 1, "dim", None)
        if dims is None or dims == []:
            dims = range(rank)
        gone = {d % rank for d in ([dims] if isinstance(dims, int) else dims)}
        for d in gone:
            self.hold(self._env[x][d], f"summed up by {node.target} in {_place(node)}")
        kept = _argument(node, 2, "keepdim", False)
        return tuple(NO_CHANNEL if d in gone else a for d, a in enumerate(self._env[x]) if kept or d not in gone)

    def _cat(self, node: fx.Node) -> tuple[Along, ...] | None:
        values: Any = node.args[0]
        rank = len(_shape(node) or ())
        at = _argument(node, 1, "dim", 0) % rank
        if any(len(_shape(v) or ()) != rank for v in values):
            return None
        along: list[Along] = []
        for d in range(rank):
            parts = [self._env[v][d] for v in values]
            if d != at:
                along.append(self.join(parts))
            elif all(isinstance(p, str) for p in parts):
                along.append(parts[0])
            else:
                sizes = [(_shape(v) or ())[d] for v in values]
                pairs = zip(parts, sizes, strict=True)
                along.append(np.concatenate([p if isinstance(p, np.ndarray) else self._fixed(n, p) for p, n in pairs]))
        return tuple(along)

    def _pad(self, node: fx.Node) -> tuple[Along, ...] | None:
        x: Any = node.args[0]
        amounts: Any = node.args[1]
        along = list(self._env[x])
        for i in range(0, len(amounts), 2):
            d, before, after = len(along) - 1 - i // 2, amounts[i], amounts[i + 1]
            here = along[d]
            if (before, after) == (0, 0) or isinstance(here, str):
                continue
            if min(before, after) < 0:
                return None
            name = _module(node)
            module = self.model.get_submodule(name) if name else self.model
            if d == 1 and tuple(getattr(module, "channel_padding", ())) == (before, after):
                first, last = self.pads.setdefault(name, (self.new(before), self.new(after)))
            else:
                why = f"the forward of {name or 'the model'} pads channels by a number of its own"
                self.hold(here, why)
                first, last = self._fixed(before, why), self._fixed(after, why)
            along[d] = np.concatenate([first, here, last])
        return tuple(along)

    def _slice(self, node: fx.Node) -> tuple[Along, ...] | None:
        x: Any = node.args[0]
        before, after = _shape(x) or (), _shape(node) or ()
        at = _argument(node, 1, "dim", 0) % len(before)
        along = list(self._env[x])
        if before[at] != after[at]:
            why = f"the forward of {_place(node)} takes channels by their numbers"
            self.hold(along[at], why)
            along[at] = why
        return tuple(along)

    def _permute(self, node: fx.Node) -> tuple[Along, ...] | None:
        x: Any = node.args[0]
        dims: Any = node.args[1]
        return tuple(self._env[x][d] for d in dims)

    def _transpose(self, node: fx.Node) -> tuple[Along, ...] | None:
        x, a, b = node.args
        along = list(self._env[x])  # type: ignore[index]
        along[a], along[b] = along[b], along[a]  # type: ignore[index]
        return tuple(along)

    def _reshape(self, node: fx.Node) -> tuple[Along, ...] | None:
        """Labels stay where the positions before them are as many, alone or with whole dimensions behind them."""
        x: Any = node.args[0]
        before, after = _shape(x) or (), _shape(node) or ()
        sizes: Any = node.args[1] if len(node.args) > 1 else None
        along: list[Along] = [NO_CHANNEL] * len(after)
        for d, here in enumerate(self._env[x]):
            if isinstance(here, str):
                continue
            fits = [
                (e, after[e] // before[d])
                for e in range(len(after))
                if prod(after[:e]) == prod(before[:d]) and after[e] in _runs(before[d:])
            ]
            if not fits:
                why = f"{node.target} in {_place(node)} cuts or mixes channels"
                self.hold(here, why)
                continue
            e, times = fits[0]
            written = isinstance(sizes, Sequence) and len(sizes) == len(after) and sizes[e] != -1
            if written and not self.trusting:
                self.hold(here, f"the forward of {_place(node)} has the number of channels in it")
            along[e] = here.repeat(times)
        return tuple(along)

    def _item(self, node: fx.Node) -> tuple[Along, ...] | None:
        """Of a pool that also returns where its maxima are; other results with parts are not followed."""
        x: Any = node.args[0]
        pooled = isinstance(x, fx.Node) and getattr(x.target, "overloadpacket", None) in _POOLS
        return self._env[x] if pooled else None


_POOLS = {
    aten.max_pool2d, aten.max_pool2d_with_indices, aten.avg_pool2d, aten.adaptive_avg_pool2d, aten.adaptive_max_pool2d,
    aten.upsample_nearest2d, aten.upsample_bilinear2d,
}  # fmt: skip
_SAME = {
    aten.dropout, aten.dropout_, aten.feature_dropout, aten.clone, aten.contiguous, aten.alias, aten.detach, aten.to,
    aten._to_copy, aten.relu6, aten.hardtanh, aten.hardswish, aten.silu, aten.mish, aten.hardsigmoid,
}  # fmt: skip
_RESHAPES = {
    aten.view, aten.reshape, aten._unsafe_view, aten.flatten, aten.unflatten, aten.squeeze, aten.unsqueeze,
    aten.view_as,
}  # fmt: skip
_HANDLERS: dict[Any, Callable[[Follower, fx.Node], tuple[Along, ...] | None]] = {
    **dict.fromkeys((aten.conv1d, aten.conv2d, aten.conv3d, aten.linear), Follower._product),
    aten.batch_norm: Follower._batch_norm,
    aten.prelu: Follower._prelu,
    **dict.fromkeys(_POOLS, Follower._pool),
    **dict.fromkeys(_SAME, Follower._same),
    **dict.fromkeys(_RESHAPES, Follower._reshape),
    **dict.fromkeys((aten.mean, aten.sum, aten.amax), Follower._reduce),
    aten.cat: Follower._cat,
    **dict.fromkeys((aten.pad, aten.constant_pad_nd), Follower._pad),
    aten.slice: Follower._slice,
    aten.permute: Follower._permute,
    aten.transpose: Follower._transpose,
    operator.getitem: Follower._item,
}


def follow(model: nn.Module, inputs: tuple[Any, ...], trusting: bool) -> Follower:
    """The labels of `model`, which is in eval mode. inputs: of its forward.

    trusting: take the sizes in a reshape for computed from its input, x.view(len(x), x.shape[1], 1, 1), and not for
    numbers in the code, which the graph does not tell apart.

    Raises netsuke.Error where the model fails on the inputs or torch.export cannot follow it.
    """
    name = type(model).__name__
    try:
        with torch.no_grad():
            model(*inputs)
    except Exception as error:
        raise Error(f"{name} fails on the example input: {first_line(error)}") from error
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(model, inputs)
    except Exception as error:  # torch.export raises many kinds, for whatever the user's code does
        raise Error(f"torch.export cannot follow {name}: {first_line(error, 300)}") from error
    follower = Follower(model, trusting)
    follower.run(program, next(len(x) for x in inputs if isinstance(x, Tensor)))
    return follower


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warnings and traces, which take longer than the export where somebody listens."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    value = node.meta.get("val")
    return tuple(int(n) for n in value.shape) if isinstance(value, Tensor) else None


def _nothing(node: fx.Node, why: str) -> tuple[Along, ...]:
    return (why,) * len(_shape(node) or ())


def _runs(sizes: Sequence[int]) -> set[int]:
    """The first, the first two multiplied, ..."""
    return {prod(sizes[:i]) for i in range(1, len(sizes) + 1)}


def _argument(node: fx.Node, at: int, name: str, default: Any) -> Any:
    return node.args[at] if len(node.args) > at else node.kwargs.get(name, default)


def _module(node: fx.Node) -> str:
    """The innermost module whose forward has it; empty for the model's own."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _place(node: fx.Node) -> str:
    return _module(node) or "the model"
