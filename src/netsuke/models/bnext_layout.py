"""The names that BNext's published code and checkpoints give their tensors, and ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from netsuke.artifact.contract import Error

# Of a unit: ours, published. What ends in a dot is a module, with the same tensors in both.
UNIT = (
    ("conv.weight", "binary_conv.weight"),
    ("conv.binary_w.temperature", "binary_conv.temperature"),
    ("conv.binary_a.bias", "move.bias"),
    ("norm.", "norm1."),
    ("norm_out.", "norm2."),
    ("prelu_in.", "activation1."),
    ("prelu.", "activation2."),
    ("recouple.scale", "scale"),
    ("recouple.gate.reduce.", "se.se.1."),
    ("recouple.gate.expand.", "se.se.3."),
    ("shortcut.conv.", "downsample.1."),
    ("shortcut.norm.", "downsample.2."),
)
# Activations have a temperature as well, which the published forward divides by before it takes the sign.
IGNORED = ".binary_activation.temperature"


def tower_names(model: Any) -> dict[str, str]:
    """Ours -> published, for a `BNext`; empty for a design that has no published form."""
    units = {}
    for i, block in enumerate(model.blocks):
        units[f"blocks.{i}.spatial."] = f"feature.{i + 1}.{'Attention' if model.design.attention else 'FFN_3x3'}."
        for j in range(len(block.pointwise)):
            name = "FFN" if len(block.pointwise) == 1 else f"FFN_{j + 1}"
            units[f"blocks.{i}.pointwise.{j}."] = f"feature.{i + 1}.{name}."
    stem = {"stem.conv.": "feature.0.conv1.", "stem.norm.": "feature.0.bn1.", "stem.prelu.": "feature.0.prelu."}
    return _names(model, {**stem, "prelu.": "prelu.", "classifier.": "fc."}, units)


def resnet_names(model: Any) -> dict[str, str]:
    """Ours -> published, for a `BNext18`; empty for a design that has no published form."""
    per_stage = len(model.blocks) // 4
    units = {}
    for i in range(len(model.blocks)):
        place = f"layer{i // per_stage}.{i % per_stage}"
        units[f"blocks.{i}.first."] = f"{place}.Attention."
        units[f"blocks.{i}.second."] = f"{place}.FFN."
    stem = {"stem.conv.": "conv1.", "stem.norm.": "bn1."}
    return _names(model, {**stem, "prelu.": "prelu.", "classifier.": "fc."}, units)


def _names(model: Any, modules: Mapping[str, str], units: Mapping[str, str]) -> dict[str, str]:
    if not model.design.binary or model.design.module != "info_rcp":
        return {}
    prefixes = [*modules.items(), *((u + a, v + b) for u, v in units.items() for a, b in UNIT)]
    return {
        name: next(theirs + name.removeprefix(ours) for ours, theirs in prefixes if name.startswith(ours))
        for name in model.state_dict()
    }


def from_published(
    names: Mapping[str, str], tensors: Mapping[str, Tensor], clamped: Callable[[str], bool]
) -> dict[str, Tensor]:
    """A published state dict under our names. Names that are ours already, or nobody's, stay.

    clamped: the units (our names) whose mixing scales the published forward clamps to [0, 1] in evaluation too, in
    place; here it is done once.
    """
    ours = {theirs: name for name, theirs in names.items()}
    made = {ours.get(k, k): v for k, v in tensors.items() if not k.endswith(IGNORED)}
    return {k: v.clamp(0, 1) if k.endswith("recouple.scale") and clamped(k) else v for k, v in made.items()}


def to_published(names: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict under the published names, the tensors that the published network never uses included.

    Raises netsuke.Error where there are no published names.
    """
    if not names:
        raise Error("this BNext has no published form: only binary ones of module 'info_rcp' have")
    made = {names[k]: v for k, v in tensors.items()}
    temperature = ".binary_conv.temperature"
    ignored = [k.removesuffix(temperature) + IGNORED for k in made if k.endswith(temperature)]
    return {**made, **{k: torch.ones(1) for k in ignored}}
