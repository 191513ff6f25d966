"""Eval mode for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def modes_kept(*models: nn.Module) -> Iterator[None]:
    """Afterwards each module is in training or eval mode as it was, whatever happened to it inside."""
    modes = {module: module.training for model in models for module in model.modules()}
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextlib.contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards as it was."""
    with modes_kept(*models):
        for model in models:
            model.eval()
        yield
