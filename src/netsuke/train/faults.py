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

    def watch(name: str) -> Callable[..., None]:
        def gradient(value: Tensor) -> None:
            if not found and not _finite(value):
                found.append(f"the gradient that comes to the output of {name} is the first")

        def hook(layer: nn.Module, _: Any, made: Any) -> None:
            if not found and isinstance(made, Tensor) and not _finite(made):
                found.append(f"the output of {name} ({type(layer).__name__}) is the first")
            if isinstance(made, Tensor) and made.requires_grad:
                made.register_hook(gradient)

        return hook

    layers = [(name, module) for name, module in model.named_modules() if name and not list(module.children())]
    handles = [layer.register_forward_hook(watch(name)) for name, layer in layers]
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
