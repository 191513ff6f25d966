"""`netsuke compress deep-compression`: a trained network in, a small file out, and pictures of what each step costs."""

from __future__ import annotations

from json import loads
from pathlib import Path
from typing import Annotated, Any

import typer

from netsuke.artifact.contract import Error
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
from netsuke.cli.options import count, seconds
from netsuke.cli.output import JsonOption, emit, show, table


def deep_compression(
    model: ModelOption,
    weights: WeightsOption,
    data: DataOption,
    out: OutOption,
    target_error: Annotated[
        float | None,
        typer.Option(
            parser=seconds("--target-error", 0),
            metavar="X",
            help="The most per cent of the held-out images that may be wrong: the smallest such file is taken.",
        ),
    ] = None,
    target_size: Annotated[
        int | None,
        typer.Option(parser=count("--target-size"), metavar="Y", help="Bytes: the first file that small is taken."),
    ] = None,
    rounds: Annotated[int, typer.Option(parser=count("--rounds"), metavar="N", help="Of pruning, at most.")] = 6,
    keep: Annotated[
        float, typer.Option(parser=seconds("--keep", 0), metavar="S", help="Share of the weights that a round leaves.")
    ] = 0.6,
    bits: Annotated[int, typer.Option(parser=count("--bits"), metavar="B", help="Of a weight that is left.")] = 5,
    epochs: Annotated[
        int, typer.Option(parser=count("--epochs"), metavar="N", help="Of retraining a round; sharing has a third.")
    ] = 10,
    held_out: HeldOutOption = 2000,
    change: SetOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Prune, share and code a trained network (Han et al. 2016, Deep Compression), to a size or to an error."""
    recipe = read_recipe_of("deep-compression", model, weights, epochs, held_out, change, threads)

    from netsuke import atomic
    from netsuke.analyze import Sensitivity
    from netsuke.report.pictures import compression_rounds, sensitivity_curves
    from netsuke.report.style import svg
    from netsuke.train import Goal
    from netsuke.train import deep_compression as compress

    goal = Goal(target_error, target_size)
    with told() as (say, update):
        result = compress(recipe, data, out, write_run(model), goal, rounds, keep, bits, device, say, update)
    held = loads((out / "sensitivity.json").read_text())
    atomic.write(out / "sensitivity.svg", svg(sensitivity_curves(Sensitivity(**held))))
    atomic.write(out / "accuracy-against-size.svg", svg(compression_rounds(result)))
    if result["chosen"] is None:
        tried = "\n".join(
            f"round {r['round']}: {r['bytes']:,} bytes, {r['error']:.2f} % wrong" for r in result["rounds"]
        )
        raise Error(f"no round reached the goal: give more --rounds or --epochs, or another goal\n{tried}")
    chosen = result["rounds"][result["chosen"] - 1]
    file = out / "compressed.netsuke"
    atomic.write(file, (out / chosen["file"]).read_bytes())
    if json:
        emit({"out": str(file), **result})
    else:
        _show(file, result, chosen)


def _show(file: Path, result: dict[str, Any], chosen: dict[str, Any]) -> None:
    rows = table("round", "weights left, %", "bytes", "wrong, pruned, %", "wrong, shared, %")
    for r in result["rounds"]:
        rows.add_row(
            str(r["round"]),
            f"{100 * r['density']:.1f}",
            f"{r['bytes']:,}",
            f"{r['pruned_error']:.2f}",
            f"{r['error']:.2f}",
        )
    show(rows)
    show(
        f"wrote {file}: {chosen['bytes']:,} bytes, {chosen['error']:.2f} % of {result['held_out']:,} held-out training "
        f"images wrong, of the float network {result['float_error']:.2f} %\n`netsuke eval` measures on test images"
    )
