"""netsuke: vision networks carved down to one bit a weight, and an engine that runs them. Imports no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from netsuke.artifact.contract import Error

if TYPE_CHECKING:
    from netsuke.data.preprocess import Preprocess
    from netsuke.engine import load, load_embeddings
    from netsuke.lowering.embeddings import export_embeddings
    from netsuke.lowering.export import export
    from netsuke.lowering.fixed_point import FixedPoint
    from netsuke.methods import (
        binarize,
        drop_blocks,
        factorize,
        low_rank,
        prune,
        prune_blocks,
        prune_channels,
        quantize,
        rate_aware,
        share,
        shrink,
        ternarize,
    )
    from netsuke.models import create_model, list_models
    from netsuke.onnx import export_onnx

__version__ = "0.1.0"

# Attributes whose home is imported when they are first asked for (PEP 562).
_HOMES = {
    "FixedPoint": "netsuke.lowering",
    "Preprocess": "netsuke.data.preprocess",
    "binarize": "netsuke.methods",
    "create_model": "netsuke.models",
    "drop_blocks": "netsuke.methods",
    "export": "netsuke.lowering",
    "export_embeddings": "netsuke.lowering",
    "export_onnx": "netsuke.onnx",
    "factorize": "netsuke.methods",
    "list_models": "netsuke.models",
    "load": "netsuke.engine",
    "load_embeddings": "netsuke.engine",
    "low_rank": "netsuke.methods",
    "prune": "netsuke.methods",
    "prune_blocks": "netsuke.methods",
    "prune_channels": "netsuke.methods",
    "quantize": "netsuke.methods",
    "rate_aware": "netsuke.methods",
    "share": "netsuke.methods",
    "shrink": "netsuke.methods",
    "ternarize": "netsuke.methods",
}

__all__ = [
    "Error",
    "FixedPoint",
    "Preprocess",
    "__version__",
    "binarize",
    "create_model",
    "drop_blocks",
    "export",
    "export_embeddings",
    "export_onnx",
    "factorize",
    "list_models",
    "load",
    "load_embeddings",
    "low_rank",
    "prune",
    "prune_blocks",
    "prune_channels",
    "quantize",
    "rate_aware",
    "share",
    "shrink",
    "ternarize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'netsuke' has no attribute {name!r}")
    try:
        home = importlib.import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return _without_torch(name)
    value = globals()[name] = getattr(home, name)
    return value


def _without_torch(name: str) -> Any:
    """What stands for a function that needs PyTorch: it can be imported and looked at, and says so when called."""

    def missing(*_: Any, **__: Any) -> Any:
        raise Error(
            f"netsuke.{name} needs PyTorch: install it (pip install torch), "
            "or from netsuke's own folder: pip install '.[train]'"
        )

    missing.__name__ = missing.__qualname__ = name
    missing.__doc__ = "Needs PyTorch, which is not installed here: raises netsuke.Error."
    return missing


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
