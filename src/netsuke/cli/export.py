"""`netsuke export`: from a model of the zoo to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netsuke.cli.checkpoint import load
from netsuke.cli.output import JsonOption, emit, remark, show
from netsuke.cli.place import check_place


def export(
    model: Annotated[str, typer.Option(help="Name of the model; `netsuke models` lists them.")],
    out: Annotated[Path, typer.Option(help="The .netsuke file to write.")],
    weights: Annotated[Path | None, typer.Option(help="Its checkpoint; without one the weights are random.")] = None,
    json: JsonOption = False,
) -> None:
    """Write a model as a .netsuke file, its preprocessing included."""
    check_place(out)
    network = load(model, weights)
    import torch

    from netsuke.lowering.export import export as lower

    if weights is None:
        remark("no --weights: the weights are random (seed 0)")
    example = torch.zeros(2, *network.entry.input)  # two images, so that the batch stays a dynamic dimension
    lower(network.module, example, out, preprocess=network.preprocess, model=model)
    result = {
        "out": str(out),
        "bytes": out.stat().st_size,
        "model": model,
        "weights": "random, seed 0" if weights is None else str(weights),
    }
    if json:
        emit(result)
    else:
        show(f"wrote {out}: {result['bytes']:,} bytes, {model}, weights {result['weights']}")
