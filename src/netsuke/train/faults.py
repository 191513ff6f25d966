"""Where numbers stopped being finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def first_fault(model: nn.Module, run: Callable[[], Tensor]) -> str:
    """Says which layer is the first that makes a number which is not finite.

    run: does the forward pass again and returns the loss. Looked at in this order: the weights, the outputs in running
    order, the gradients in the order in which the backward pass makes them.
    """
    for name, parameter in model.named_parameters():
        if not _finite(parameter):
            return f"the weight {name}, made so by the step before, is the first"
    found: list[str] = []

    def output(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, made: Any) -> None:
            if not found and isinstance(made, Tensor) and not _finite(made):
                found.append(f"the output of {name} ({type(model.get_submodule(name)).__name__}) is the first")

        return hook

    def gradient(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: Any, __: Any) -> None:
            if not found and any(isinstance(g, Tensor) and not _finite(g) for g in inputs):
                found.append(f"the gradient at the input of {name} is the first")

        return hook

    handles = []
    for name, module in model.named_modules():
        if name and not list(module.children()):
            handles.append(module.register_forward_hook(output(name)))
            handles.append(module.register_full_backward_hook(gradient(name)))
    try:
        loss = run()
        if not found and _finite(loss):
            loss.backward()
    finally:
        for handle in handles:
            handle.remove()
    if found:
        return found[0]
    if not _finite(loss):
        return "it is the loss itself, behind finite outputs,"
    bad = [n for n, p in model.named_parameters() if p.grad is not None and not _finite(p.grad)]
    return f"the gradient of {bad[0]} is the first" if bad else "in the same batch, run again, there is none"


def _finite(x: Tensor) -> bool:
    return bool(torch.isfinite(x.detach()).all())
