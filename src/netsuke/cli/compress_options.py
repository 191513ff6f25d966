"""What the methods of `netsuke compress` have in common: options, first checks, and the bar of their trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netsuke.artifact.contract import Error
from netsuke.cli.options import choice, count
from netsuke.cli.output import remark, require, stderr_console, training_bars

if TYPE_CHECKING:
    from netsuke.train import Progress as Where
    from netsuke.train import Recipe

DEVICES = ("auto", "cpu", "cuda")

ModelOption = Annotated[str, typer.Option(help="Name of the model; `netsuke models` lists them.")]
WeightsOption = Annotated[Path, typer.Option(help="Its checkpoint.")]
DataOption = Annotated[str, typer.Option(metavar="SPEC", help="The data set: cifar10:PATH, mnist:PATH, ...")]
OutOption = Annotated[Path, typer.Option(help="The folder to work in; the same command again goes on from there.")]
HeldOutOption = Annotated[
    int,
    typer.Option(parser=count("--held-out"), metavar="N", help="Training images that errors are measured on."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change the recipe of the retraining: optimizer.learning_rate=0.05, augment.flip=true. Repeatable.",
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option(parser=count("--threads"), metavar="N", help="Threads of PyTorch on the CPU.")
]
DeviceOption = Annotated[
    str, typer.Option(parser=choice("--device", *DEVICES), metavar="|".join(DEVICES), help="Where to train.")
]


def read_recipe_of(
    method: str,
    model: str,
    weights: Path,
    epochs: int,
    held_out: int,
    changes: Sequence[str] | None,
    threads: int | None,
) -> Recipe:
    """The recipe of a method's retraining, with what the options say. Raises Error where one of them is wrong."""
    require("train", "torch", "lightning_fabric", "torchmetrics", "matplotlib")
    import torch

    from netsuke.models import get_model
    from netsuke.train import read_recipe

    get_model(model)  # a name that is none is told before a file is looked for
    if not weights.is_file():
        raise Error(f"--weights {weights}: there is no such file")
    if threads is not None:
        torch.set_num_threads(threads)
    own = [f'model.name="{model}"', f'model.weights="{weights}"', f"epochs={epochs}", f"validation={held_out}"]
    return read_recipe(method, [*own, *(changes or [])])


def write_run(model: str) -> Callable[[Path, Path], None]:
    """Writes what a training run in a folder has made as a file."""

    def write(run: Path, file: Path) -> None:
        from netsuke.cli.checkpoint import load_run
        from netsuke.cli.export import write_network
        from netsuke.report.runs import read_run

        write_network(load_run(read_run(run)), model, file)

    return write


@contextmanager
def told() -> Iterator[tuple[Callable[[str], None], Callable[[str, Where], None]]]:
    """(say, update): remarks on standard error, and a bar for how far a training of some name is."""
    with training_bars(stderr_console()) as bars:
        bar = bars.add_task("", total=1.0, state="")

        def update(name: str, now: Where) -> None:
            if bars.tasks[bar].description != name:
                bars.reset(bar, total=1.0, description=name)
            bars.update(bar, completed=now.share, state=f"epoch {now.epoch}, {now.images_per_second:,.0f} images/s")

        yield bars.console.print if bars.console.is_terminal else remark, update
