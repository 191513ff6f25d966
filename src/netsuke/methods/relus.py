"""ReLUs that feed only binarized layers become two-sided: a binarizer tells nothing apart among zeros."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from netsuke.artifact.contract import first_line
from netsuke.methods.report import BinarizeReport

# What a value may pass through on its way to a binarized layer. Sizes are read, not passed on.
_THROUGH_MODULES = (
    nn.Identity, nn.Dropout, nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
    nn.Flatten, nn.Unflatten, nn.ZeroPad2d,
)  # fmt: skip
_THROUGH_FUNCTIONS = {
    F.dropout, F.dropout2d, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.pad,
    torch.flatten, torch.reshape, torch.cat, torch.mean,
}  # fmt: skip
_THROUGH_METHODS = {"flatten", "view", "reshape", "contiguous", "clone", "mean"}
_RELU_FUNCTIONS = {F.relu, F.relu_, torch.relu, torch.relu_}
_DROPOUTS: dict[Any, Callable[[float], nn.Module]] = {F.dropout: nn.Dropout, F.dropout2d: nn.Dropout2d}
_RELU_METHODS = {"relu", "relu_"}


class _Tracer(fx.Tracer):
    record_stack_traces = True  # so that an exporter can still name the user's lines

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.startswith("netsuke.nn") or super().is_leaf_module(m, module_qualified_name)


def make_two_sided(
    model: nn.Module,
    inputs: tuple[Any, ...],
    binarized: set[str],
    nonlinearity: Callable[[int], nn.Module],
    report: BinarizeReport,
) -> nn.Module:
    """Replace the ReLUs that feed only layers named in `binarized`, and note them in `report`.

    ReLU modules that run once are replaced in place. Functional ones, and modules that run at several places, need
    the forward rewritten: the result is then a torch.fx.GraphModule with the same parameters, where torch.fx can trace
    the model and its forward does not depend on the training mode, except by F.dropout(x, p, self.training).
    Returns the model.
    """
    graph = trace(model, report)
    if graph is None:
        return model
    modules = dict(model.named_modules())
    runs: dict[int, int] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            module = modules[node.target]
            runs[id(module)] = runs.get(id(module), 0) + 1
    chosen = []
    for node in graph.nodes:
        if not is_relu(node, modules):
            continue
        why = _why_kept(node, modules, binarized)
        if why:
            report.relus_kept.append((label(node), why))
        else:
            chosen.append(node)
    if not chosen:
        return model
    ShapeProp(fx.GraphModule(model, graph)).propagate(*inputs)
    rewrite = [n for n in chosen if n.op != "call_module" or runs[id(modules[n.target])] > 1]
    if rewrite and not _follows_training(model, graph):
        why = "its module's forward depends on the training mode, so it cannot be rewritten: use an nn.ReLU of its own"
        report.relus_kept += [(label(node), why) for node in rewrite]
        chosen, rewrite = [node for node in chosen if node not in rewrite], []
    like = next(model.parameters())
    for node in chosen:
        new = nonlinearity(node.meta["tensor_meta"].shape[1]).to(like.device, like.dtype)
        if node in rewrite:
            name = _free_name(model, node)
            model.add_module(name, new) if "." not in name else model.set_submodule(name, new)
            with graph.inserting_after(node):
                call = graph.create_node("call_module", name, (_source(node),))
            node.replace_all_uses_with(call)
            graph.erase_node(node)
        else:
            name = str(node.target)
            model.set_submodule(name, new)
        report.relus.append(name)
    return _rewritten(model, graph) if rewrite else model


def trace(model: nn.Module, report: BinarizeReport | None = None) -> fx.Graph | None:
    """The graph of the forward, layers of ours as they are; None, and noted in `report`, where there is none."""
    try:
        return _Tracer().trace(model)
    except Exception as error:  # a forward may do anything to a proxy
        if report is not None:
            report.relus_kept.append(("all ReLUs", f"torch.fx cannot trace the model: {first_line(error, 160)}"))
        return None


def is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether it is a ReLU, as a module, a function or a method. modules: those of the model, by name."""
    if node.op == "call_module":
        return type(modules[str(node.target)]) is nn.ReLU
    if node.op == "call_function":
        return node.target in _RELU_FUNCTIONS
    return node.op == "call_method" and node.target in _RELU_METHODS


def _source(node: fx.Node) -> Any:
    return node.args[0] if node.args else node.kwargs.get("input")


def _why_kept(node: fx.Node, modules: dict[str, nn.Module], binarized: set[str]) -> str:
    source = _source(node)
    if not isinstance(source, fx.Node):
        return "its input is not found in the graph"
    inplace = node.target in (F.relu_, torch.relu_, "relu_") or node.kwargs.get("inplace") or len(node.args) > 1
    inplace = inplace or (node.op == "call_module" and getattr(modules[str(node.target)], "inplace", False))
    if inplace and len(source.users) > 1:
        return "it works in place on a value that is also used elsewhere"
    ends = _ends(node, modules)
    others = [end for end in ends if not (end.op == "call_module" and end.target in binarized)]
    if others:
        return f"it also feeds {label(others[0])}"
    return "" if ends else "nothing reads its result"


def _ends(node: fx.Node, modules: dict[str, nn.Module]) -> list[fx.Node]:
    """Where the values of `node` arrive, behind pools, reshapes and the like."""
    ends = []
    for user in node.users:
        if user.op == "call_method" and user.target in ("size", "dim") or user.target is getattr:
            continue
        through = (
            user.op == "call_module"
            and isinstance(modules[str(user.target)], _THROUGH_MODULES)
            or user.op == "call_function"
            and user.target in _THROUGH_FUNCTIONS
            or user.op == "call_method"
            and user.target in _THROUGH_METHODS
        )
        ends += _ends(user, modules) if through else [user]
    return ends


def _follows_training(model: nn.Module, graph: fx.Graph) -> bool:
    """Whether `graph`, traced in one mode, holds in both. A functional dropout told of the mode becomes a module."""
    training = model.training
    other = trace(model.train(not training))
    model.train(training)
    if other is None or len(other.nodes) != len(graph.nodes):
        return False
    told = []
    for node, twin in zip(graph.nodes, other.nodes, strict=True):
        # torch hands these on with every argument but the input by name.
        modes = (node.kwargs.get("training"), twin.kwargs.get("training"))
        if node.target in _DROPOUTS and node.target is twin.target and modes == (training, not training):
            twin.kwargs = {**twin.kwargs, "training": training}
            told.append(node)
    if str(other) != str(graph):  # what still differs shows in the text
        return False
    for number, node in enumerate(told, 1):
        name = f"netsuke_dropout{number}"
        model.add_module(name, _DROPOUTS[node.target](float(node.kwargs["p"])))
        with graph.inserting_after(node):
            call = graph.create_node("call_module", name, (node.args[0],))
        node.replace_all_uses_with(call)
        graph.erase_node(node)
    return True


def label(node: fx.Node) -> str:
    """What a node is, for people."""
    if node.op == "call_module":
        return str(node.target)
    if node.op == "output":
        return "the output"
    name = getattr(node.target, "__name__", str(node.target))
    owner = _owner(node)
    if node.target in (operator.add, operator.iadd, torch.add):
        name = "an addition"
    return f"{name} in {owner}" if owner else name


def _owner(node: fx.Node) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _free_name(model: nn.Module, node: fx.Node) -> str:
    prefix = f"{_owner(node)}." if _owner(node) and node.op != "call_module" else ""
    if node.op == "call_module":  # a shared module: its new neighbours carry its name
        prefix = f"{node.target}_"
    taken = {name for name, _ in model.named_modules(remove_duplicate=False)}
    number = 1
    while f"{prefix}maxout{number}" in taken:
        number += 1
    return f"{prefix}maxout{number}"


def _rewritten(model: nn.Module, graph: fx.Graph) -> nn.Module:
    """A GraphModule that runs `graph`, holding also the parameters and buffers of `model` that the graph leaves out."""
    new = fx.GraphModule(model, graph, class_name=type(model).__name__)
    for name, module in model.named_modules(remove_duplicate=False):
        try:
            new.get_submodule(name)
        except AttributeError:
            new.add_submodule(name, module)
    for kind in ("parameters", "buffers"):
        held = dict(getattr(new, f"named_{kind}")())
        for name, tensor in getattr(model, f"named_{kind}")():
            if name not in held:
                owner = new.get_submodule(name.rpartition(".")[0])
                leaf = name.rpartition(".")[2]
                owner.register_parameter(leaf, tensor) if kind == "parameters" else owner.register_buffer(leaf, tensor)
    return new.train(model.training)
