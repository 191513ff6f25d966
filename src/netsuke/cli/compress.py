"""`netsuke compress`: a trained network in, a small file out, and a picture of what each step costs."""

from __future__ import annotations

from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netsuke.artifact.contract import Error
from netsuke.cli.options import choice, count, seconds
from netsuke.cli.output import JsonOption, emit, remark, require, show, stderr_console, table, training_bars

if TYPE_CHECKING:
    from netsuke.train import Progress as Where

METHODS = ("deep-compression",)
DEVICES = ("auto", "cpu", "cuda")


def compress(
    method: Annotated[str, typer.Argument(metavar="|".join(METHODS), parser=choice("METHOD", *METHODS))],
    model: Annotated[str, typer.Option(help="Name of the model; `netsuke models` lists them.")],
    weights: Annotated[Path, typer.Option(help="Its checkpoint.")],
    data: Annotated[str, typer.Option(metavar="SPEC", help="The data set: cifar10:PATH, mnist:PATH, ...")],
    out: Annotated[Path, typer.Option(help="The folder to work in; the same command again goes on from there.")],
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
    held_out: Annotated[
        int, typer.Option(parser=count("--held-out"), metavar="N", help="Training images that errors are measured on.")
    ] = 2000,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change the recipe of the retraining: optimizer.learning_rate=0.05, augment.flip=true. Repeatable.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(parser=count("--threads"), metavar="N", help="Threads of PyTorch on the CPU.")
    ] = None,
    device: Annotated[
        str, typer.Option(parser=choice("--device", *DEVICES), metavar="|".join(DEVICES), help="Where to train.")
    ] = "auto",
    json: JsonOption = False,
) -> None:
    """Prune, share and code a trained network (Han et al. 2016, Deep Compression), to a size or to an error."""
    require("train", "torch", "lightning_fabric", "torchmetrics", "matplotlib")
    import torch

    from netsuke import atomic
    from netsuke.analyze import Sensitivity
    from netsuke.cli.checkpoint import load_run
    from netsuke.cli.export import write_network
    from netsuke.models import get_model
    from netsuke.report.pictures import compression_rounds, sensitivity_curves
    from netsuke.report.runs import read_run
    from netsuke.report.style import svg
    from netsuke.train import Goal, deep_compression, read_recipe

    get_model(model)  # a name that is none is told before a file is looked for
    if not weights.is_file():
        raise Error(f"--weights {weights}: there is no such file")
    if threads is not None:
        torch.set_num_threads(threads)
    own = [f'model.name="{model}"', f'model.weights="{weights}"', f"epochs={epochs}", f"validation={held_out}"]
    recipe = read_recipe("deep-compression", [*own, *(change or [])])

    def write(run: Path, file: Path) -> None:
        write_network(load_run(read_run(run)), model, file)

    console = stderr_console()
    with training_bars(console) as bars:
        bar = bars.add_task("", total=1.0, state="")

        def update(name: str, now: Where) -> None:
            if bars.tasks[bar].description != name:
                bars.reset(bar, total=1.0, description=name)
            bars.update(bar, completed=now.share, state=f"epoch {now.epoch}, {now.images_per_second:,.0f} images/s")

        say = bars.console.print if bars.console.is_terminal else remark
        goal = Goal(target_error, target_size)
        result = deep_compression(recipe, data, out, write, goal, rounds, keep, bits, device, say, update)
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
