"""The same network for faster training on a CPU: norm, residual, nonlinearity and binarizer run as one operator."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx, nn

from netsuke.nn.adabin import AdaBinActivation
from netsuke.nn.convolution import binary_convolution, reads_bits
from netsuke.nn.layers import BinaryConv2d
from netsuke.nn.maxout import Maxout
from netsuke.nn.unit import Unit, unit


class _Fused(nn.Module):
    """A `Unit` in the rewritten network. Its parts are modules of the network already and not registered twice."""

    parts: Unit

    def __init__(self, parts: Unit) -> None:
        super().__init__()
        object.__setattr__(self, "parts", parts)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        return unit(x, residual, self.parts)


class _Convolution(nn.Module):
    """A binary convolution of what a unit binarized."""

    layer: BinaryConv2d

    def __init__(self, layer: BinaryConv2d) -> None:
        super().__init__()
        object.__setattr__(self, "layer", layer)

    def forward(self, a: Tensor, bits: Tensor | None) -> Tensor:
        return binary_convolution(self.layer, a, bits)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.startswith("netsuke.nn") or super().is_leaf_module(m, module_qualified_name)


def fuse(model: nn.Module) -> nn.Module:
    """A module with the forward, parameters, buffers and names of `model`, all shared, that trains faster on a CPU.

    Batch norm, the addition behind it, Maxout and the next layer's AdaBin binarizer become one operator
    (`nn.unit.unit`). Where nothing fits, torch.fx cannot trace the model, or its forward does something else in
    evaluation than in training, or the second time than the first, `model` itself is returned.
    """
    graph = _trace(model)
    if graph is None:
        return model
    modules = dict(model.named_modules())
    made: dict[str, nn.Module] = {}
    for node in list(graph.nodes):
        if type(_module(node, modules)) is nn.BatchNorm2d:
            _fuse_at(node, graph, modules, made)
    if not made:
        return model
    result = fx.GraphModule({**modules, **made}, graph, type(model).__name__)
    # The graph's own copy of the tree lacks what it does not call: take over the model's whole.
    result._modules = {**model._modules, **made}
    result._parameters, result._buffers = model._parameters, model._buffers
    result.training = model.training
    return result


def _trace(model: nn.Module) -> fx.Graph | None:
    """The graph of a forward that is always the same: what Python decides would be decided once and for all."""
    modes = {module: module.training for module in model.modules()}
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
    return graph if str(graph) == str(again) == str(other) else None


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
    if user is not None and isinstance(nonlinearity, Maxout):
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
    name = f"fused_{len(made)}"
    made[name] = _Fused(
        Unit(batch_norm, nonlinearity, binarizer, isinstance(layer, BinaryConv2d) and reads_bits(layer))
    )
    with graph.inserting_before(last):
        both = graph.call_module(name, tuple(arguments))
        y = graph.call_function(operator.getitem, (both, 0))
        a, bits = (graph.call_function(operator.getitem, (both, i)) for i in (1, 2))
    last.replace_all_uses_with(y)
    if reader is not None:
        assert isinstance(layer, BinaryConv2d)
        convolution = f"fused_{len(made)}"
        made[convolution] = _Convolution(layer)
        with graph.inserting_before(reader):
            result = graph.call_module(convolution, (a, bits))
        reader.replace_all_uses_with(result)
        graph.erase_node(reader)
    for node in reversed(replaced):
        graph.erase_node(node)


def _binarizes(layer: nn.Module | None) -> bool:
    return isinstance(layer, BinaryConv2d) and type(layer.binary_a) is AdaBinActivation
