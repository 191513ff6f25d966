"""Wrappers that spread a module over devices hold the module itself."""

from __future__ import annotations

from torch import nn


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside nn.DataParallel or DistributedDataParallel; any other module as it is."""
    while isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        module = module.module
    return module
