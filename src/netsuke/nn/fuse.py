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
from netsuke.nn.adabin import AdaBinActivation
from netsuke.nn.convolution import binary_convolution, reads_bits
from netsuke.nn.layers import BinaryConv2d
from netsuke.nn.maxout import Maxout
from netsuke.nn.unit import Unit, unit

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

    def forward(self, x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor | None, Tensor | None]:
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

    Batch norm, the addition behind it, Maxout and the next layer's AdaBin binarizer become one operator
    (`nn.unit.unit`). `model` itself is returned where nothing fits, where torch.fx cannot trace it, and where a forward
    is not always the same: it takes optional arguments, draws random numbers in Python, works in place on a value that
    is read again, or does something else in evaluation than in training or the second time than the first. Attributes
    that are no tensors are read once, here. Modules with hooks are left as they are.
    """
    graph = _trace(model)
    if graph is None:
        return model
    modules = dict(model.named_modules())
    if not _may_rewrite(model, graph, modules):
        return model
    made: dict[str, nn.Module] = {}
    for node in list(graph.nodes):
        norm = _module(node, modules)
        if type(norm) is nn.BatchNorm2d and not _hooked(norm) and len(node.args) == 1 and not node.kwargs:
            _fuse_at(node, graph, modules, made)
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
    modes = {module: module.training for module in model.modules()}
    drawn = random.getstate(), str(np.random.get_state())
    try:
        graph, again = _Tracer().trace(model), _Tracer().trace(model)
        for module, training in modes.items():
            module.training = not training
        other = _Tracer().trace(model)
    except Exception:  # a user's forward may do anything; it then runs as it is
        return None
    finally:
        for module, training in modes.items():
            module.training = training
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
    """Of two values, without a factor."""
    return (
        node is not None
        and node.op == "call_function"
        and node.target in (operator.add, operator.iadd, torch.add)
        and not node.kwargs
        and len(node.args) == 2
        and all(isinstance(a, fx.Node) for a in node.args)
        and node.args[0] is not node.args[1]
    )


def _fuse_at(norm: fx.Node, graph: fx.Graph, modules: dict[str, nn.Module], made: dict[str, nn.Module]) -> None:
    """Replace what begins at the batch norm `norm`."""
    last, arguments, replaced = norm, [norm.args[0]], [norm]
    user = _only_user(last)
    if user is not None and _is_sum(user):
        arguments.append(user.args[1] if user.args[0] is last else user.args[0])
        last, user = user, _only_user(user)
        replaced.append(last)
    nonlinearity = _module(user, modules) if user is not None else None
    if user is not None and isinstance(nonlinearity, Maxout) and not _hooked(nonlinearity):
        last = user
        replaced.append(last)
    else:
        nonlinearity = None
    reader = next((u for u in last.users if _binarizes(_module(u, modules))), None)
    layer = _module(reader, modules) if reader is not None else None
    binarizer = layer.binary_a if isinstance(layer, BinaryConv2d) else None
    batch_norm = _module(norm, modules)
    assert isinstance(batch_norm, nn.BatchNorm2d)
    assert nonlinearity is None or isinstance(nonlinearity, Maxout)
    assert binarizer is None or isinstance(binarizer, AdaBinActivation)
    name = _free_name(modules, made)
    read_by = layer if isinstance(layer, BinaryConv2d) else None
    bits_suffice = read_by is not None and reads_bits(read_by)
    made[name] = _Fused(Unit(batch_norm, nonlinearity, binarizer, bits_suffice), read_by)
    with graph.inserting_before(last):
        both = graph.call_module(name, tuple(arguments))
        y = graph.call_function(operator.getitem, (both, 0))
        a, bits = (graph.call_function(operator.getitem, (both, i)) for i in (1, 2))
    last.replace_all_uses_with(y)
    if reader is not None:
        assert isinstance(layer, BinaryConv2d)
        convolution = _free_name(modules, made)
        made[convolution] = _Convolution(layer)
        with graph.inserting_before(reader):
            result = graph.call_module(convolution, (a, bits))
        reader.replace_all_uses_with(result)
        graph.erase_node(reader)
    for node in reversed(replaced):
        graph.erase_node(node)


def _binarizes(layer: nn.Module | None) -> bool:
    return (
        isinstance(layer, BinaryConv2d)
        and type(layer.binary_a) is AdaBinActivation
        and not _hooked(layer)
        and not _hooked(layer.binary_a)
    )


def _free_name(modules: dict[str, nn.Module], made: dict[str, nn.Module]) -> str:
    numbers = itertools.count(len(made))
    return next(name for i in numbers if (name := f"fused_{i}") not in modules and name not in made)
