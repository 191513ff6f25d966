"""State dicts of published code whose names differ from ours (Liu et al.: Bi-Real Net, ReActNet)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from netsuke.nn import BinaryConv2d

# (ours, published): regular expressions and what they become, one after the other.
Names = Sequence[tuple[str, str]]


def from_published(model: nn.Module, names: Names, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict under the names of `model`. Names that are ours already, or nobody's, stay.

    A binary weight that the published code keeps as a column, under the name `weights`, gets its shape.
    """
    tensors = {re.sub(r"\.weights$", ".weight", k): v for k, v in tensors.items()}
    own = model.state_dict()
    theirs = {name: renamed(name, names) for name in own}
    made = {k: v for k, v in tensors.items() if k not in theirs.values()}
    for name, published in theirs.items():
        if published in tensors:
            tensor = tensors[published]
            is_column = tensor.dim() == 2 and tensor.shape[1] == 1 and tensor.numel() == own[name].numel()
            made[name] = tensor.view_as(own[name]) if is_column else tensor
    return made


def to_published(
    model: nn.Module, names: Names, columns: bool, tensors: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The state dict of `model`, or `tensors` that stand for it, under the published names.

    columns: binary weights as columns named `weights`.
    """
    binary = {f"{name}.weight" for name, m in model.named_modules() if columns and isinstance(m, BinaryConv2d)}
    return {
        renamed(name, names) + "s" * (name in binary): tensor.view(-1, 1) if name in binary else tensor
        for name, tensor in (model.state_dict() if tensors is None else tensors).items()
    }


def renamed(name: str, names: Names) -> str:
    for pattern, published in names:
        name = re.sub(pattern, published, name)
    return name
