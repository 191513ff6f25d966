"""Which module of a network computes how many multiply-accumulates: one forward, without data if possible."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from netsuke.artifact.contract import Error, first_line
from netsuke.nn.modes import evaluating
from netsuke.nn.parallel import unwrapped

aten = torch.ops.aten
# Two operations for each multiply-accumulate, as torch's own formulas have it; these it lacks.
_FORMULAS: dict[Any, Callable[..., int]] = {
    aten.mv: lambda a, b, **_: 2 * a.numel(),
    aten.addmv: lambda _, a, b, **__: 2 * a.numel(),
    aten.dot: lambda a, b, **_: 2 * a.numel(),
}
_WITH_BIAS = {aten.addmm, aten.addmv, aten.baddbmm}


@dataclass(frozen=True)
class Work:
    """One operator that multiplies and adds. module: the innermost one that ran it, by name.

    macs: multiply-accumulates. read, written: elements of its operands and of its result. weight: elements of the
    second operand, which is a layer's weight where the module holds parameters. pooled: whether a map of one pixel
    comes in and goes out, as in a squeeze-and-excitation branch.
    """

    module: str
    macs: int
    read: int
    weight: int
    written: int
    pooled: bool


def work_of(module: nn.Module, example_input: Tensor | tuple[Any, ...]) -> list[Work]:
    """Every operator that multiplies and adds in one forward of `module` in eval mode, in the order they run.

    Nothing is computed and nothing allocated: parameters, buffers and the example are replaced by tensors of the meta
    device, and what the forward does to buffers is lost. Where the forward needs values, and the parameters have some,
    it is run in earnest. Counted are convolutions and products of matrices and vectors, attention's included; an
    operator of the user's own in another language is not seen into.

    Raises netsuke.Error where the forward fails.
    """
    module = unwrapped(module)
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    try:
        return _on_meta(module, inputs)
    except Exception as error:  # a forward may do anything to tensors without data
        held = [*module.parameters(), *module.buffers()]
        if any(t.is_meta for t in [*held, *(x for x in inputs if isinstance(x, Tensor))]):
            raise _failed(module, error) from error
    try:
        return _watched(module, lambda: module(*inputs))
    except Exception as error:
        raise _failed(module, error) from error


def _failed(module: nn.Module, error: Exception) -> Error:
    return Error(f"{type(module).__name__} fails on the example input (is its size one it takes?): {first_line(error)}")


def _on_meta(module: nn.Module, inputs: tuple[Any, ...]) -> list[Work]:
    def empty(value: Any) -> Any:
        return torch.empty_like(value, device="meta") if isinstance(value, Tensor) else value

    held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    stand_ins = {name: empty(tensor) for name, tensor in held.items()}
    with torch.device("meta"):
        return _watched(module, lambda: torch.func.functional_call(module, stand_ins, tree_map(empty, inputs)))


def _watched(module: nn.Module, forward: Callable[[], Any]) -> list[Work]:
    watcher = _Watcher()
    # In inference mode torch would show the operators before it takes them apart.
    with _calm(module), _named(module, watcher.running), torch.inference_mode(False), torch.no_grad(), watcher:
        forward()
    return watcher.found


@contextlib.contextmanager
def _calm(module: nn.Module) -> Iterator[None]:
    """Eval mode, and transformer layers in their parts, not as the one operator that torch has for them."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluating(module):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def _named(module: nn.Module, running: list[str]) -> Iterator[None]:
    """Keeps the names of the modules whose forward is running in `running`, the innermost last."""
    handles = []
    for name, m in module.named_modules():

        def enter(_: nn.Module, __: Any, name: str = name) -> None:
            running.append(name)

        def leave(*_: Any) -> None:
            running.pop()

        handles += [m.register_forward_pre_hook(enter), m.register_forward_hook(leave, always_call=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Watcher(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.running: list[str] = []
        self.found: list[Work] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        formula = _FORMULAS.get(packet) or flop_registry.get(packet)
        if formula is not None:
            operands = [a for a in args[packet in _WITH_BIAS :] if isinstance(a, Tensor)]
            x, weight = operands[:2]
            result = tree_leaves(out)[0]
            # Queries, keys and values are all activations, and a product of more than two dimensions has no weight.
            held = packet not in (aten.bmm, aten.baddbmm) and "attention" not in str(packet)
            self.found.append(
                Work(
                    self.running[-1] if self.running else "",
                    formula(*args, **kwargs, out_val=out) // 2,
                    x.numel() if held else sum(a.numel() for a in operands),
                    weight.numel() if held else 0,
                    result.numel(),
                    packet is aten.convolution and prod(x.shape[2:]) == prod(result.shape[2:]) == 1,
                )
            )
        return out
