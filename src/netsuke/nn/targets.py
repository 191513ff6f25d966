"""Which layers a method takes, and with what value: the patterns of layer names that the methods share."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from fnmatch import fnmatchcase

from torch import nn

from netsuke.artifact.contract import Error
from netsuke.nn.layers import BinaryConv2d, BinaryLinear

Weighted = nn.Conv2d | nn.Linear


def weighted(model: nn.Module) -> dict[str, Weighted]:
    """Convolutions and linear layers by name, but for binary ones; a layer under several names counts once."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and not isinstance(layer, (BinaryConv2d, BinaryLinear))
    }


def chosen(model: nn.Module, values: float | Mapping[str, float]) -> dict[str, float]:
    """A value for each layer that one is given for.

    values: one for all convolutions and linear layers, or {shell pattern of names: value}, of which the last that fits
    counts. Raises netsuke.Error for a pattern that fits no layer.
    """
    layers = weighted(model)
    if not layers:
        raise Error(f"{type(model).__name__} has no convolution and no linear layer")
    table = values if isinstance(values, Mapping) else {"*": values}
    for pattern in table:
        if not any(fnmatchcase(name, pattern) for name in layers):
            close = difflib.get_close_matches(pattern, layers, n=3, cutoff=0.3) or list(layers)[:3]
            raise Error(f"no layer is named {pattern!r}. Close to it: {', '.join(close)}")
    fits = {name: [v for pattern, v in table.items() if fnmatchcase(name, pattern)] for name in layers}
    return {name: found[-1] for name, found in fits.items() if found}
