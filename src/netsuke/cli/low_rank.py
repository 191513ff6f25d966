"""`netsuke compress low-rank`: a trained network in, one of fewer multiply-accumulates out (Zhang et al. 2016)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from netsuke.cli.compress_options import (
    DataOption,
    DeviceOption,
    HeldOutOption,
    ModelOption,
    OutOption,
    SetOption,
    ThreadsOption,
    WeightsOption,
    read_recipe_of,
    told,
    write_run,
)  # fmt: skip
from netsuke.cli.options import choice, count, seconds
from netsuke.cli.output import JsonOption, emit, show, table

RECONSTRUCTIONS = ("linear", "nonlinear", "asymmetric", "3d")


def low_rank(
    model: ModelOption,
    weights: WeightsOption,
    data: DataOption,
    out: OutOption,
    speedup: Annotated[
        float,
        typer.Option(
            parser=seconds("--speedup", 1),
            metavar="X",
            help="How many times fewer multiply-accumulates all convolutions together are to have; 1: they stay.",
        ),
    ] = 4.0,
    linear_speedup: Annotated[
        float,
        typer.Option(parser=seconds("--linear-speedup", 1), metavar="X", help="The same for linear layers."),
    ] = 1.0,
    reconstruction: Annotated[
        str,
        typer.Option(
            parser=choice("--reconstruction", *RECONSTRUCTIONS),
            metavar="|".join(RECONSTRUCTIONS),
            help="What the smaller layers are fitted to.",
        ),
    ] = "asymmetric",
    images: Annotated[
        int,
        typer.Option(parser=count("--images"), metavar="N", help="Training images that they are fitted on."),
    ] = 3000,
    epochs: Annotated[int, typer.Option(parser=count("--epochs"), metavar="N", help="Of fine-tuning.")] = 10,
    held_out: HeldOutOption = 2000,
    change: SetOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Split the layers of a trained network into cheaper ones (Zhang et al. 2016), and train it on."""
    wanted = {
        "speedup": speedup,
        "linear_speedup": linear_speedup,
        "reconstruction": f'"{reconstruction}"',
        "images": images,
    }
    changes = [f"low_rank.{name}={value}" for name, value in wanted.items()]
    recipe = read_recipe_of("low-rank", model, weights, epochs, held_out, [*changes, *(change or [])], threads)

    from netsuke.train import split_and_train

    with told() as (say, update):
        result = split_and_train(recipe, data, out, write_run(model), device, say, update)
    file = out / "compressed.netsuke"
    if json:
        emit({"out": str(file), **result})
    else:
        _show(str(file), result)


def _show(file: str, result: dict[str, Any]) -> None:
    rows = table("layer", "rank", "outputs", "energy, %", "multiply-accumulates left, %")
    for layer in result["layers"]:
        ranks = layer["rank"] if isinstance(layer["rank"], list) else [layer["rank"]]
        rows.add_row(
            layer["name"],
            ", ".join(str(rank) for rank in ranks if rank is not None),
            str(layer["outputs"]),
            f"{100 * layer['energy']:.2f}",
            f"{100 * layer['macs'][1] / layer['macs'][0]:.1f}",
        )
    show(rows)
    show(
        f"wrote {file}: {result['bytes']:,} bytes, {result['speedup']:.2f} times fewer multiply-accumulates in its "
        f"convolutions\nof {result['held_out']:,} held-out training images {result['float_error']:.2f} % wrong by the "
        f"float network, {result['split_error']:.2f} % by the split one, {result['error']:.2f} % after fine-tuning\n"
        "`netsuke eval` measures on test images"
    )
