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
    if "num_classes" not in arguments:
        arguments["num_classes"] = _classes(run)
    module = create_model(run.model, **arguments)
    if run.ranks is not None:
        module = factorize(module, run.ranks)
    layers = run.recipe.get("quantize", {}).get("layers")
    module = load_weights(quantize(module, float_layers.read(layers)) if layers else module, run.weights)
    progressive(module, 1.0)
    return Network(module.eval(), entry, Preprocess(**entry.preprocess), arguments)


def _classes(run: Run) -> int:
    """How many classes the run's network tells apart: a recipe leaves it to the data, but the weights say it."""
    import torch
    from safetensors import SafetensorError, safe_open

    from netsuke.models import create_model

    arguments = {key: v for key, v in run.recipe["model"].get("arguments", {}).items() if key != "num_classes"}
    with torch.device("meta"):
        two, three = (create_model(run.model, n, **arguments).state_dict() for n in (2, 3))
    places = {
        name: axis
        for name in two
        for axis, sizes in enumerate(zip(two[name].shape, three[name].shape, strict=True))
        if sizes == (2, 3)
    }
    try:
        with safe_open(str(run.weights), "pt") as file:
            found = {int(file.get_slice(name).get_shape()[axis]) for name, axis in places.items()}
    except (SafetensorError, IndexError):
        raise Error(f"{run.weights} is damaged, or does not belong to {run.model}: check it") from None
    if len(found) != 1:
        raise Error(f"{run.weights} does not say how many classes its network has: it is no {run.model}")
    return found.pop()
