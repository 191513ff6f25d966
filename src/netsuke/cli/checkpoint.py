"""A model of the zoo with its weights, ready for inference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from netsuke.cli.output import require
from netsuke.data import Preprocess

if TYPE_CHECKING:
    from torch import nn

    from netsuke.models import ModelEntry


@dataclass
class Network:
    """module is in eval mode. preprocess is what its published weights were trained with."""

    module: nn.Module
    entry: ModelEntry
    preprocess: Preprocess


def load(name: str, weights: Path | None, num_classes: int | None = None) -> Network:
    """The model `name` with the checkpoint `weights`, or with its seed-0 random weights, as if they were trained.

    Raises Error if there is no such model, torch is not installed, or the checkpoint is missing or does not fit.
    """
    require("train", "torch")
    from netsuke.models import create_model, get_model, load_weights
    from netsuke.nn import progressive

    entry = get_model(name)
    module = create_model(name, num_classes=num_classes)
    if weights is not None:
        load_weights(module, weights)
    else:
        progressive(module, 1.0)
    return Network(module.eval(), entry, Preprocess(**entry.preprocess))
