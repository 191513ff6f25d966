"""`netsuke profile`: what a model of the zoo costs."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netsuke.artifact.contract import Error, first_line
from netsuke.cli.options import count
from netsuke.cli.output import JsonOption, emit, require, show, table

if TYPE_CHECKING:
    from netsuke.analyze import Cost, Energy

PICOJOULES = 1e9  # in a millijoule
MIB = 2**20


def profile(
    model: Annotated[str, typer.Option(help="Name of the model; `netsuke models` lists them.")],
    image_size: Annotated[
        int | None,
        typer.Option(parser=count("--image-size"), metavar="N", help="Side of the image, instead of the model's own."),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An argument of the model: num_classes=10. Repeatable."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Count the parameters, operations, bytes and energy of a model, layer by layer, for one image."""
    require("train", "torch")
    arguments = read_arguments(change or [])
    cost, shape = cost_of(model, arguments, image_size)
    result = {"model": model, "input": shape, "arguments": arguments, **described(cost)}
    if json:
        emit(result)
    else:
        _show(result)


def cost_of(model: str, arguments: dict[str, Any], image_size: int | None = None) -> tuple[Cost, list[int]]:
    """The cost of a model of the registry for one image, and the image's (C, H, W). No weight is allocated.

    Raises Error if there is no such model, and where it does not take the arguments or images of this size.
    """
    import torch

    from netsuke.analyze import cost
    from netsuke.models import create_model, get_model

    channels, *sides = get_model(model).input
    if image_size is not None:
        sides = [image_size, image_size]
    with torch.device("meta"):
        try:
            module = create_model(model, **arguments)
        except (TypeError, ValueError, RuntimeError) as error:
            raise Error(f"{model} cannot be made with {arguments}: {first_line(error)}") from None
        return cost(module, torch.empty(1, channels, *sides)), [channels, *sides]


def read_arguments(changes: list[str]) -> dict[str, Any]:
    """Arguments of `create_model` out of KEY=VALUE, the value in TOML (a text may lack its quotes)."""
    arguments = {}
    for change in changes:
        key, equals, text = (part.strip() for part in change.partition("="))
        if not equals or not key.isidentifier():
            raise Error(f"--set {change}: write KEY=VALUE, as in num_classes=10")
        if re.fullmatch(r"[A-Za-z_][\w.-]*", text) and text not in ("true", "false", "inf", "nan"):
            text = f'"{text}"'
        try:
            arguments[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            raise Error(f'--set {change}: {text} is no TOML value, such as 0.05, true, "text" or [1, 2]') from None
    return arguments


def described(cost: Cost) -> dict[str, Any]:
    """The JSON of a cost: operations of one forward, bytes, millijoules."""
    from netsuke.analyze import EDITIONS
    from netsuke.analyze.energy import SOURCE

    return {
        "parameters": cost.parameters,
        "binary_parameters": cost.binary_parameters,
        "bops": cost.bops,
        "flops": cost.flops,
        "ops": cost.ops(),
        "degree_of_binarization": cost.degree_of_binarization(),
        "size_bytes": cost.size_bytes(),
        "energy_millijoule": cost.energy.total / PICOJOULES,
        "energy": {**_millijoule(cost.energy), "source": SOURCE},
        "editions": {
            name: {
                "ops": cost.ops(bits),
                "degree_of_binarization": cost.degree_of_binarization(bits),
                "size_bytes": cost.size_bytes(bits),
            }
            for name, bits in EDITIONS.items()
        },
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "role": layer.role,
                "parameters": layer.parameters,
                "binary_parameters": layer.binary_parameters,
                "bops": layer.bops,
                "flops": layer.flops,
                "ops": layer.ops,
                "energy": _millijoule(layer.energy),
            }
            for layer in cost.layers
        ],
    }


def _millijoule(energy: Energy) -> dict[str, float]:
    return {key: getattr(energy, key) / PICOJOULES for key in ("compute", "on_chip", "off_chip")}


def _show(result: dict[str, Any]) -> None:
    layers = table("layer", "kind", "parameters", "BOPs", "FLOPs", "compute", "on-chip", "off-chip")
    for layer in result["layers"]:
        if layer["bops"] or layer["flops"]:
            layers.add_row(*_row(layer["name"] or "(itself)", layer["kind"], layer))
    rest = [layer for layer in result["layers"] if not (layer["bops"] or layer["flops"])]
    if rest:
        held = {key: sum(layer[key] for layer in rest) for key in ("parameters", "bops", "flops")}
        moved = {key: sum(layer["energy"][key] for layer in rest) for key in rest[0]["energy"]}
        layers.add_row(*_row("the rest", f"{len(rest)} modules", {**held, "energy": moved}))
    layers.add_section()
    layers.add_row(*_row("all", "", result))
    editions = table("float layers in", "OPs", "binary share", "MiB")
    for name, edition in result["editions"].items():
        editions.add_row(
            name,
            f"{edition['ops'] / 1e9:.4f} G",
            f"{100 * edition['degree_of_binarization']:.2f} %",
            f"{edition['size_bytes'] / MIB:#.3g}",
        )
    show(
        f"{result['model']}, one image of {'x'.join(map(str, result['input']))}: "
        f"{result['parameters']:,} parameters, {result['binary_parameters']:,} of them binary",
        layers,
        "compute, on-chip and off-chip memory in microjoules, one image at a time: an estimate from the table of",
        result["energy"]["source"],
        editions,
        "OPs = BOPs / 64 + FLOPs; 8/4/8: bits of the input layer, of squeeze-and-excitation, of the output layer",
    )


def _row(name: str, kind: str, layer: dict[str, Any]) -> list[str]:
    energy = [f"{1e3 * layer['energy'][key]:.2f}" for key in ("compute", "on_chip", "off_chip")]
    return [
        name,
        kind,
        f"{layer['parameters']:,}",
        *(f"{layer[key] / 1e6:.3f} M" for key in ("bops", "flops")),
        *energy,
    ]
