"""A model of the zoo with its weights, ready for inference."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netsuke import float_layers
from netsuke.artifact.contract import Error
from netsuke.cli.output import require
from netsuke.data import Preprocess

if TYPE_CHECKING:
    from torch import nn

    from netsuke.models import ModelEntry
    from netsuke.report import Run


@dataclass
class Network:
    """module is in eval mode. preprocess is what it was, or is to be, trained with. arguments: it was made with."""

    module: nn.Module
    entry: ModelEntry
    preprocess: Preprocess
    arguments: dict[str, Any] = field(default_factory=dict)


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


def load_run(run: Run) -> Network:
    """The network that a training run has made, with the weights after its last epoch.

    Raises Error where it has none yet, and where weights and recipe do not fit.
    """
    require("train", "torch")
    from netsuke.methods import factorize, quantize
    from netsuke.models import create_model, get_model, load_weights
    from netsuke.nn import progressive

    if run.weights is None:
        raise Error(
            f"{run.folder} has no weights yet: they are written after the last epoch. Start that training again"
        )
    entry = get_model(run.model)
    arguments = dict(run.recipe["model"].get("arguments", {}))
    module = create_model(run.model, **arguments)
    if run.ranks is not None:
        module = factorize(module, run.ranks)
    layers = run.recipe.get("quantize", {}).get("layers")
    module = load_weights(quantize(module, float_layers.read(layers)) if layers else module, run.weights)
    progressive(module, 1.0)
    return Network(module.eval(), entry, Preprocess(**entry.preprocess), arguments)
