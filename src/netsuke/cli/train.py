"""`netsuke train`: a recipe, from its beginning or from where it was cut off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from netsuke.cli.options import choice, count, seconds
from netsuke.cli.output import JsonOption, emit, remark, require, show, stderr_console

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
    with Progress(
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f}, {task.fields[rate]:,.0f} images/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bars:
        bar = bars.add_task("", total=1.0, epoch=0, epochs=chosen.epochs, loss=float("nan"), rate=0.0)

        def update(now: Where) -> None:
            bars.update(bar, completed=now.share, epoch=now.epoch, loss=now.loss, rate=now.images_per_second)

        def report(row: dict[str, Any]) -> None:
            if first:
                say = bars.console.print if bars.console.is_terminal else remark
                say(f"epoch {row['epoch']}/{chosen.epochs}: loss {row['loss']:.4f}, {_accuracies(row)}")

        result = run(chosen, data, output, device, update, report)
    if first:
        emit(result) if json else _show(result)


def _accuracies(row: dict[str, Any]) -> str:
    held_out = row["validation_accuracy"]
    shown = "" if held_out is None else f", of the held-out {held_out:.2f} %"
    return f"{row['train_accuracy']:.2f} % of the training images right{shown}"


def _show(result: dict[str, Any]) -> None:
    show(f"wrote {result['out']}: {result['bytes']:,} bytes, after {result['epoch']} epochs, {_accuracies(result)}")
