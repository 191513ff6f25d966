"""Reading checkpoints: published ones, our own, safetensors. Nothing in a checkpoint is executed."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from netsuke.artifact.contract import Error, first_line
from netsuke.models.mxnet import read_ndarrays
from netsuke.models.released import read_released

_UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError
)  # fmt: skip
SHOWN = 1  # names in an error message


@runtime_checkable
class Published(Protocol):
    """A model whose published code has other names for the same tensors."""

    def from_published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of the published code, or of ours, under our names."""
        ...

    def to_published(self) -> dict[str, Tensor]:
        """The model's state dict, as the published code loads it."""
        ...


def load_weights(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Load the checkpoint at `path` into `model`, in place, and return it.

    Reads safetensors files and torch files of plain tensors (weights_only=True): a state dict, or one under the key
    `state_dict` or `model`, with or without the prefix `module.`, under our names or those of the published code. A
    file that ends in .net is one of Deep Compression's (`netsuke.models.released`), one that ends in .params MXNet's
    (`netsuke.models.mxnet`).
    Raises netsuke.Error where the file is missing or damaged, or does not fit the model.
    """
    tensors = _strip_prefix(_tensors_of(Path(path), model), "module.")
    if isinstance(model, Published):
        tensors = model.from_published(tensors)
    unused = getattr(model, "unused_weights", ())
    tensors = {k: v for k, v in tensors.items() if not k.startswith(tuple(unused))}
    own = model.state_dict()
    # Older checkpoints lack the counter of batches, which inference does not use.
    missing = [k for k in own if k not in tensors and not k.endswith("num_batches_tracked")]
    unknown = [k for k in tensors if k not in own]
    shapes = [
        f"{k} is {tuple(v.shape)} in the file and {tuple(own[k].shape)} in the model"
        for k, v in tensors.items()
        if k in own and v.shape != own[k].shape
    ]
    problems = []
    if missing:
        problems.append(f"it lacks {_some(missing)}")
    if unknown:
        problems.append(f"the model has no {_some(unknown)}")
    if shapes:
        problems.append(_some(shapes))
    if problems:
        raise Error(f"{path} does not fit this {type(model).__name__}: {'; '.join(problems)}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Error(f"{path} is damaged: {name} holds values that are not finite")
    model.load_state_dict(tensors, strict=False)
    return model


def _tensors_of(path: Path, model: nn.Module) -> Mapping[str, Tensor]:
    if path.suffix == ".net":
        return read_released(path, model)
    return read_ndarrays(path) if path.suffix == ".params" else _read(path)


def published_weights(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of `model` under the names of its published code, which can load it.

    Raises netsuke.Error where the model's own names are the only ones.
    """
    if isinstance(model, Published):
        return model.to_published()
    raise Error(f"{type(model).__name__} has no published names but its own: take model.state_dict()")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _is_netsuke(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(64)[8:].startswith(b'{"__metadata__":{"netsuke')
    except OSError:
        return False  # reading it in earnest will say why


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise Error(f"there is no checkpoint at {path}: check the path")
    if _is_netsuke(path):
        raise Error(f"{path} is an exported netsuke file, not a checkpoint: give the weights it was exported from")
    try:
        if path.suffix == ".safetensors":
            loaded: Any = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError:
        raise Error(f"{path} is no safetensors file, or a damaged one: check it") from None
    except OSError as error:
        raise Error(f"{path} cannot be read: {first_line(error)}") from None
    except _UNREADABLE:
        # torch says the same of damaged files and of files that hold code.
        raise Error(
            f"{path} is no checkpoint of plain tensors: it is damaged, of another kind, or holds more than tensors. "
            "Save model.state_dict() with torch.save"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(k, str) for k in loaded):
        raise Error(f"{path} holds a {type(loaded).__name__}, not a state dict of named tensors")
    wrong = [k for k, v in loaded.items() if not isinstance(v, Tensor)]
    if wrong or not loaded:
        raise Error(f"{path} holds no state dict of tensors: {_some(wrong) or 'it is empty'}")
    return loaded


def _strip_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    if all(k.startswith(prefix) for k in tensors):
        return {k.removeprefix(prefix): v for k, v in tensors.items()}
    return dict(tensors)
