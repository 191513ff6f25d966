"""`netsuke train`: a recipe, from its beginning or from where it was cut off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netsuke.cli.options import choice, count, seconds
from netsuke.cli.output import JsonOption, emit, remark, require, show, stderr_console, training_bars

if TYPE_CHECKING:
    from netsuke.train import Progress as Where

DEVICES = ("auto", "cpu", "cuda")


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe of the package, or the path of a TOML file.")],
    data: Annotated[str, typer.Option(metavar="SPEC", help="The data set: cifar10:PATH, imagefolder:PATH, ...")],
    out: Annotated[Path, typer.Option(help="The run's folder; the same command again goes on from there.")],
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe: optimizer.learning_rate=0.05. Repeatable."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(parser=count("--epochs"), metavar="N", help="Instead of the recipe's; schedules follow."),
    ] = None,
    checkpoint_minutes: Annotated[
        float,
        typer.Option(
            parser=seconds("--checkpoint-minutes", 0),
            metavar="M",
            help="Write a checkpoint this often beside the one after each epoch; 0 for never.",
        ),
    ] = 5.0,
    checkpoint_steps: Annotated[
        int | None,
        typer.Option(parser=count("--checkpoint-steps"), metavar="N", help="The same, counted in steps."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(parser=count("--threads"), metavar="N", help="Threads of PyTorch on the CPU.")
    ] = None,
    device: Annotated[
        str, typer.Option(parser=choice("--device", *DEVICES), metavar="|".join(DEVICES), help="Where to train.")
    ] = "auto",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write OUT/tensorboard too.")] = False,
    json: JsonOption = False,
) -> None:
    """Train or fine-tune a model. A run that was cut off goes on when the same command is given again."""
    require("train", "torch", "lightning_fabric", "torchmetrics")
    import torch

    from netsuke.train import Output, read_recipe, run

    chosen = read_recipe(recipe, change or [], epochs)
    if threads is not None:
        torch.set_num_threads(threads)
    output = Output(out, checkpoint_minutes, checkpoint_steps or 0, tensorboard)
    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts, one speaks
    console = stderr_console()
    console.quiet = console.quiet or not first
    with training_bars(console) as bars:
        bar = bars.add_task("training", total=None, state="")

        def update(now: Where) -> None:
            if bars.tasks[bar].total is None:  # the time left is reckoned from where the run is, if it was resumed
                bars.reset(bar, total=1.0)
                bars.tasks[bar].completed = now.share
            state = f"loss {now.loss:.3f}, {now.images_per_second:,.0f} images/s"
            bars.update(bar, completed=now.share, description=f"epoch {now.epoch}/{chosen.epochs}", state=state)

        def report(row: dict[str, Any]) -> None:
            if first:
                say = bars.console.print if bars.console.is_terminal else remark
                say(f"epoch {row['epoch']}/{chosen.epochs}: loss {row['loss']:.4f}, {_accuracies(row)}")

        result = run(chosen, data, output, device, update, report)
    if first:
        emit(result) if json else _show(result)


def _accuracies(row: dict[str, Any]) -> str:
    what = "default boxes with an object" if "validation_map" in row else "training images"
    shown = f"{row['train_accuracy']:.2f} % of the {what} right"
    if row.get("validation_accuracy") is not None:
        shown += f", {row['validation_accuracy']:.2f} % of the held-out ones"
    if row.get("validation_map") is not None:
        shown += f", mAP {row['validation_map']:.2f} % on the held-out images"
    return shown


def _show(result: dict[str, Any]) -> None:
    after = f"after {result['epoch']} epochs, {_accuracies(result)}" if result["epoch"] else "no epoch was trained"
    show(f"wrote {result['out']}: {result['bytes']:,} bytes, {after}")
