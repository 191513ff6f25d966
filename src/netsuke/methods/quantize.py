"""`netsuke.quantize`: a model in, the same model with layers in 8 or 4 bits out, started from data, to be trained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error, first_line
from netsuke.float_layers import FloatLayers
from netsuke.nn import QuantizedConv2d, QuantizedLinear
from netsuke.nn.coding import Histogram, best_range, coding
from netsuke.nn.modes import evaluating
from netsuke.nn.parallel import unwrapped
from netsuke.nn.quantized import fits


def quantize(
    model: nn.Module, float_layers: str | Mapping[str, str] = "int8", calibration: Tensor | None = None
) -> nn.Module:
    """A copy of `model` whose float convolutions and linear layers compute as the 8- or 4-bit ones of a file do.

    Trained further it makes up for the rounding, where `export(float_layers=...)` alone only chooses ranges: weights
    and activations are rounded as in the file, ranges of activations are trained (`netsuke.nn.ActivationQuantizer`),
    and `netsuke.export` writes what was trained, without calibration.

    model: any module; it is left alone. float_layers: "int8", "int4", or a mapping from patterns of layer names to
    these or "float32", as for `netsuke.export`: {"*": "int8", "*.gate.*": "int4"} is BNext's 8/4/8 edition (Guo et al.
    2022, table 1). Layers that are binary or quantized already stay. calibration: float images (N, C, H, W),
    normalised, whose activations the ranges start from, those of least squared error; without any, load a state_dict
    of a model that was quantized alike before you run it.

    Raises netsuke.Error for patterns that fit no layer, layers that a file cannot hold in these bits, and images that
    the model fails on.
    """
    if not isinstance(model, nn.Module):
        raise Error(f"quantize takes a torch.nn.Module, not a {type(model).__name__}")
    precision = FloatLayers(float_layers)
    try:
        student = copy.deepcopy(unwrapped(model))
    except Exception as error:  # a user's module may refuse to be copied in any way it likes
        raise Error(
            f"{type(model).__name__} cannot be copied ({first_line(error)}): quantize works on a copy of it"
        ) from error
    layers = {name: m for name, m in student.named_modules() if type(m) in (nn.Conv2d, nn.Linear)}
    precision.check_names(layers)
    chosen = {name: bits for name in layers if (bits := precision.bits(name)) is not None and fits(layers[name].weight)}
    if not chosen:
        raise Error(
            f"nothing in {type(model).__name__} is quantized: float_layers={float_layers!r} fits no float layer"
        )
    ranges = _ranges(student, chosen, calibration) if calibration is not None else {}
    places: dict[int, list[str]] = {}  # a layer may be used under several names
    for name, module in student.named_modules(remove_duplicate=False):
        places.setdefault(id(module), []).append(name)
    for name, bits in chosen.items():
        layer: Any = layers[name]
        if getattr(layer, "padding_mode", "zeros") != "zeros":
            raise Error(f"layer {name!r} has padding_mode={layer.padding_mode!r}: a file has zeros only")
        kind = QuantizedConv2d if isinstance(layer, nn.Conv2d) else QuantizedLinear
        made = kind.from_float(layer, bits)
        if name in ranges:
            code = coding(*ranges[name], bits)
            made.activation.start(code.scale, code.zero)
        if not name:
            return made
        for place in places[id(layer)]:
            student.set_submodule(place, made)
    return student


def _ranges(model: nn.Module, chosen: Mapping[str, int], images: Tensor) -> dict[str, tuple[float, float]]:
    """Of what each layer reads, from one run in eval mode."""
    if not isinstance(images, Tensor) or not images.is_floating_point() or not len(images):
        raise Error("calibration must be float images (N, C, H, W), normalised: a few hundred training images")
    histograms = {name: Histogram() for name in chosen}

    def watch(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            if not bool(torch.isfinite(args[0]).all()):
                raise Error(f"layer {name!r} reads a number that is not finite: the model or an image is damaged")
            histograms[name].add(args[0].detach().float().cpu())

        return hook

    handles = [model.get_submodule(name).register_forward_pre_hook(watch(name)) for name in chosen]
    try:
        with evaluating(model), torch.no_grad():
            for part in images.split(64):
                model(part)
    except Error:
        raise
    except Exception as error:
        raise Error(f"{type(model).__name__} fails on the calibration images: {first_line(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
    return {name: best_range(histograms[name], bits) for name, bits in chosen.items()}
