"""Which layers a method leaves alone."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from torch import nn

from netsuke.artifact.contract import Error

Skip = Iterable[str] | Callable[[str, nn.Module], bool]


def skipper(model: nn.Module, skip: Skip) -> Callable[[str, nn.Module], bool]:
    """(name, layer) -> whether it is skipped. skip: names of layers or of blocks that hold them, or such a function.

    Raises netsuke.Error for a name that the model lacks.
    """
    if callable(skip):
        return skip
    names = [skip] if isinstance(skip, str) else list(skip)
    known = [name for name, _ in model.named_modules() if name]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.3) or known[:3]
            raise Error(f"skip names {name!r}, which the model lacks. Close to it: {', '.join(close)}")
    return lambda layer, _: any(layer == name or layer.startswith(f"{name}.") for name in names)
