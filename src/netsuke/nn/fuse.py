"""The same network for faster training on a CPU: norm, residual, nonlinearity and binarizer run as one operator."""

from __future__ import annotations

import inspect
import itertools
import operator
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from netsuke.artifact.contract import Error
from netsuke.nn.convolution import binary_convolution, reads_bits
from netsuke.nn.layers import BinaryConv2d
from netsuke.nn.maxout import Maxout
from netsuke.nn.modes import modes_kept
from netsuke.nn.product import gated
from netsuke.nn.recoupling import InfoRecoupling
from netsuke.nn.unit import BINARIZERS, Made, Unit, unit

# operator's in-place functions.
_IN_PLACE = ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand", "ior", "ixor")


class _Fused(nn.Module):
    """A `Unit` in the rewritten network. Its parts are modules of the network already and not registered twice."""

    parts: Unit
    reader: BinaryConv2d | None

    def __init__(self, parts: Unit, reader: BinaryConv2d | None) -> None:
        super().__init__()
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "reader", reader)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Made:
        if self.reader is not None and self.reader.binary_a is not self.parts.binarizer:
            raise Error("a layer has another activation binarizer than when the network was fused: fuse it again")
        return unit(x, residual, self.parts)


class _Convolution(nn.Module):
    """A binary convolution of what a unit binarized."""

    layer: BinaryConv2d

    def __init__(self, layer: BinaryConv2d) -> None:
        super().__init__()
        object.__setattr__(self, "layer", layer)

    def forward(self, a: Tensor, bits: Tensor | None) -> Tensor:
        return binary_convolution(self.layer, a, bits)


class _Recoupled(nn.Module):
    """Recoupling of y by x, times another map."""

    recoupling: InfoRecoupling

    def __init__(self, recoupling: InfoRecoupling) -> None:
        super().__init__()
        object.__setattr__(self, "recoupling", recoupling)

    def forward(
        self, x: Tensor, y: Tensor, other: Tensor | None = None, of_x: Tensor | None = None, of_y: Tensor | None = None
    ) -> Tensor:
        """of_x, of_y: the means of the maps, where they are at hand."""
        of_x, of_y = (z.mean((2, 3), keepdim=True) if m is None else m for z, m in ((x, of_x), (y, of_y)))
        return gated(y, self.recoupling.factors(of_x, of_y), other)


class _Proxy(fx.Proxy):
    """With the in-place operators, which fx would take for the ordinary ones."""


def _written(name: str) -> Callable[[_Proxy, Any], fx.Proxy]:
    return lambda self, other: self.tracer.create_proxy("call_function", getattr(operator, name), (self, other), {})


for _name in _IN_PLACE:
    setattr(_Proxy, f"__{_name}__", _written(_name))


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.startswith("netsuke.nn") or super().is_leaf_module(m, module_qualified_name)


def fuse(model: nn.Module) -> nn.Module:
    """A module with the forward, parameters, buffers and names of `model`, all shared, that trains faster on a CPU.

    Batch norm, the addition behind it, Maxout or PReLU and the next layer's binarizer become one operator
    (`nn.unit.unit`), recoupling and the product behind it another. `model` itself is returned where nothing fits, where
    torch.fx cannot trace it, and where a forward is not always the same: it takes optional arguments, draws random
    numbers in Python, works in place on a value that is read again, or does something else in evaluation than in
    training or the second time than the first. Attributes that are no tensors are read once, here. Modules with hooks
    are left as they are.
    """
    graph = _trace(model)
    if graph is None:
        return model
    modules = dict(model.named_modules())
    if not _may_rewrite(model, graph, modules):
        return model
    made: dict[str, nn.Module] = {}
    for node in list(graph.nodes):
        module = _module(node, modules)
        if type(module) is nn.BatchNorm2d and not _hooked(module) and _is_plain(node):
            _fuse_at(node, graph, modules, made)
        elif type(module) is InfoRecoupling and not _hooked(module) and len(node.args) == 2:
            _recouple_at(node, graph, modules, made)
    for node in list(graph.nodes):  # what stands behind something else
        if _is_nonlinearity(node, modules):
            _fuse_at(node, graph, modules, made)
    for node in list(graph.nodes):
        if _binarizes(_module(node, modules)):
            _binarize_at(node, graph, modules, made)
    for node in list(graph.nodes):
        if isinstance(made.get(str(node.target)), _Recoupled):
            _take_means(node, graph, made)
    if not made:
        return model
    read = {str(node.target): _attribute(model, str(node.target)) for node in graph.nodes if node.op == "get_attr"}
    result = fx.GraphModule({**modules, **read, **made}, graph, type(model).__name__)
    # The graph's own copy of the tree lacks what it does not call: take over the model's whole.
    result._modules = {**model._modules, **made}
    result._parameters, result._buffers = model._parameters, model._buffers
    result.training = model.training
    return result


def _trace(model: nn.Module) -> fx.Graph | None:
    """The graph of a forward that is always the same: what Python decides would be decided once and for all."""
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except ValueError:  # a compiled forward has no signature to read
        return None
    if _hooked(model) or any(p.kind is not p.POSITIONAL_OR_KEYWORD or p.default is not p.empty for p in parameters):
        return None
    drawn = random.getstate(), str(np.random.get_state())
    try:
        with modes_kept(model):
            graph, again = _Tracer().trace(model), _Tracer().trace(model)
            for module in model.modules():
                module.training = not module.training
            other = _Tracer().trace(model)
    except Exception:  # a user's forward may do anything; it then runs as it is
        return None
    same = str(graph) == str(again) == str(other) and drawn == (random.getstate(), str(np.random.get_state()))
    return graph if same else None


def _hooked(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def _may_rewrite(model: nn.Module, graph: fx.Graph, modules: dict[str, nn.Module]) -> bool:
    """Whether moving a value's readers changes nothing, and all that the graph reads is registered in the model."""
    for node in graph.nodes:
        registered = node.op != "get_attr" or "." in node.target
        if not registered and node.target not in {**model._parameters, **model._buffers}:
            return False
        written = node.args[0] if node.args and _in_place(node, modules) else None
        if "out" in node.kwargs or (isinstance(written, fx.Node) and (len(written.users) > 1 or not node.users)):
            return False
    return True


def _in_place(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return bool(getattr(_module(node, modules), "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    if node.op not in ("call_function", "call_method"):
        return False
    inplace = node.kwargs.get("inplace") or any(argument is True for argument in node.args)
    return bool(inplace) or (name.endswith("_") and not name.endswith("__")) or name in _IN_PLACE


def _attribute(model: nn.Module, target: str) -> Any:
    owner, _, name = target.rpartition(".")
    return getattr(model.get_submodule(owner), name)


def _module(node: fx.Node, modules: dict[str, nn.Module]) -> nn.Module | None:
    return modules.get(str(node.target)) if node.op == "call_module" else None


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _is_sum(node: fx.Node | None) -> bool:
    return _is_of_two(node, (operator.add, operator.iadd, torch.add))


def _is_of_two(node: fx.Node | None, functions: tuple[Any, ...]) -> bool:
    """Of two values, without a factor."""
    return (
        node is not None
        and node.op == "call_function"
        and node.target in functions
        and not node.kwargs
        and len(node.args) == 2
        and all(isinstance(a, fx.Node) for a in node.args)
        and node.args[0] is not node.args[1]
    )


def _is_nonlinearity(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    module = _module(node, modules)
    return type(module) in (Maxout, nn.PReLU) and not _hooked(module) and _is_plain(node)  # type: ignore[arg-type]


def _is_plain(node: fx.Node) -> bool:
    return len(node.args) == 1 and not node.kwargs


def _fuse_at(first: fx.Node, graph: fx.Graph, modules: dict[str, nn.Module], made: dict[str, nn.Module]) -> None:
    """Replace the unit that begins at a batch norm or a nonlinearity."""
    last, arguments, replaced = first, [first.args[0]], [first]
    module = _module(first, modules)
    norm = module if isinstance(module, nn.BatchNorm2d) else None
    nonlinearity = None if norm is not None else module
    if norm is not None:
        user = _only_user(last)
        if user is not None and _is_sum(user):
            arguments.append(user.args[1] if user.args[0] is last else user.args[0])
            last, user = user, _only_user(user)
            replaced.append(last)
        if user is not None and _is_nonlinearity(user, modules):
            nonlinearity, last = _module(user, modules), user
            replaced.append(last)
    assert nonlinearity is None or isinstance(nonlinearity, (Maxout, nn.PReLU))
    reader = next((u for u in last.users if _binarizes(_module(u, modules))), None)
    layer = _module(reader, modules) if reader is not None else None
    binary = layer if isinstance(layer, BinaryConv2d) else None
    unit_of = Unit(norm, nonlinearity, *_binarizer(binary))
    y, a, bits = _insert(unit_of, binary, arguments, last, graph, modules, made)
    last.replace_all_uses_with(y)
    if reader is not None:
        _read(reader, a, bits, graph, modules, made)
    for node in reversed(replaced):
        graph.erase_node(node)


def _binarize_at(reader: fx.Node, graph: fx.Graph, modules: dict[str, nn.Module], made: dict[str, nn.Module]) -> None:
    """Take the binarizer out of the layer that `reader` calls."""
    layer = _module(reader, modules)
    assert isinstance(layer, BinaryConv2d)
    _, a, bits = _insert(Unit(None, None, *_binarizer(layer)), layer, [reader.args[0]], reader, graph, modules, made)
    _read(reader, a, bits, graph, modules, made)


def _binarizer(layer: BinaryConv2d | None) -> tuple[Any, bool]:
    return (None, False) if layer is None else (layer.binary_a, reads_bits(layer))


def _insert(
    parts: Unit, reader: BinaryConv2d | None, arguments: list[Any], at: fx.Node, graph: fx.Graph,
    modules: dict[str, nn.Module], made: dict[str, nn.Module],
) -> tuple[fx.Node, ...]:  # fmt: skip
    """Call a unit before `at`: its three results."""
    name = _free_name(modules, made)
    made[name] = _Fused(parts, reader)
    with graph.inserting_before(at):
        results = graph.call_module(name, tuple(arguments))
        return tuple(graph.call_function(operator.getitem, (results, i)) for i in range(3))


def _read(
    reader: fx.Node, a: fx.Node, bits: fx.Node, graph: fx.Graph, modules: dict[str, nn.Module],
    made: dict[str, nn.Module],
) -> None:  # fmt: skip
    """Let the layer of `reader` take what is binarized already."""
    layer = _module(reader, modules)
    assert isinstance(layer, BinaryConv2d)
    name = _free_name(modules, made)
    made[name] = _Convolution(layer)
    with graph.inserting_before(reader):
        result = graph.call_module(name, (a, bits))
    reader.replace_all_uses_with(result)
    graph.erase_node(reader)


def _recouple_at(node: fx.Node, graph: fx.Graph, modules: dict[str, nn.Module], made: dict[str, nn.Module]) -> None:
    """Recoupling, and a product with another map behind it, as one."""
    recoupling = _module(node, modules)
    assert isinstance(recoupling, InfoRecoupling)
    last, arguments, user = node, [*node.args], _only_user(node)
    if user is not None and _is_of_two(user, (operator.mul, operator.imul, torch.mul)):
        arguments.append(user.args[1] if user.args[0] is node else user.args[0])
        last = user
    name = _free_name(modules, made)
    made[name] = _Recoupled(recoupling)
    with graph.inserting_before(last):
        result = graph.call_module(name, tuple(arguments))
    last.replace_all_uses_with(result)
    graph.erase_node(last)
    if last is not node:
        graph.erase_node(node)


def _take_means(node: fx.Node, graph: fx.Graph, made: dict[str, nn.Module]) -> None:
    """Let units that make the maps of a recoupling make their means as well."""
    x, y, *other = node.args
    means = [_mean_of(z, graph, made) for z in (x, y)]
    node.args = (x, y, other[0] if other else None, *means)


def _mean_of(value: Any, graph: fx.Graph, made: dict[str, nn.Module]) -> fx.Node | None:
    source = value.args[0] if value.target is operator.getitem and value.args[1] == 0 else None
    fused = made.get(str(source.target)) if isinstance(source, fx.Node) else None
    if source is None or not isinstance(fused, _Fused) or fused.parts.norm is fused.parts.nonlinearity is None:
        return None
    object.__setattr__(fused, "parts", fused.parts._replace(means=True))
    known = next((u for u in source.users if u.target is operator.getitem and u.args[1] == 3), None)
    if known is not None:
        return known
    with graph.inserting_after(source):
        return graph.call_function(operator.getitem, (source, 3))


def _binarizes(layer: nn.Module | None) -> bool:
    return (
        isinstance(layer, BinaryConv2d)
        and type(layer.binary_a) in BINARIZERS
        and not _hooked(layer)
        and not _hooked(layer.binary_a)
    )


def _free_name(modules: dict[str, nn.Module], made: dict[str, nn.Module]) -> str:
    numbers = itertools.count(len(made))
    return next(name for i in numbers if (name := f"fused_{i}") not in modules and name not in made)
