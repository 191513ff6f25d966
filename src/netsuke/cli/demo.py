"""`netsuke demo`: the whole way, on handwritten digits that come with scikit-learn."""

from __future__ import annotations

import copy
import io
import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from netsuke.cli.bench import summary
from netsuke.cli.evaluate import Classifier, accuracy
from netsuke.cli.machine import cores_for, cpu_name
from netsuke.cli.options import count
from netsuke.cli.output import JsonOption, emit, remark, require, show, stderr_console, table
from netsuke.cli.place import check_place
from netsuke.cli.program import program
from netsuke.cli.race import race
from netsuke.cli.worker import time_runs
from netsuke.data import Dataset, Preprocess, normalise, open_dataset

if TYPE_CHECKING:
    from torch import Tensor, nn

SEED = 0
FLOAT, BINARY, ENGINE = "float in PyTorch", "binary in PyTorch", "binary in netsuke"
PREPROCESS = Preprocess(mean=(0.5,), std=(0.5,))


def demo(
    out: Annotated[Path, typer.Option(help="Where to write the network.")] = Path("demo.netsuke"),
    width: Annotated[int, typer.Option(parser=count("--width"), metavar="N", help="Channels of the network.")] = 128,
    epochs: Annotated[
        int,
        typer.Option(
            parser=count("--epochs"), metavar="N", help="Passes over the digits; twice as many for the binary one."
        ),
    ] = 5,
    json: JsonOption = False,
) -> None:
    """Train a small network on handwritten digits, binarize it, export it, run it: one table at the end."""
    check_place(out)
    require("train", "torch", "sklearn")
    started = time.perf_counter()
    with Progress(
        TextColumn("{task.description:32}"), BarColumn(), TimeElapsedColumn(), console=stderr_console()
    ) as bars:
        result = run(out, width, epochs, lambda name: _bar(bars, name))
    result["seconds"] = time.perf_counter() - started
    if json:
        emit(result)
    else:
        _show(result)


def run(out: Path, width: int, epochs: int, bar: Callable[[str], Callable[[float], None]]) -> dict[str, Any]:
    """The whole way. bar(name) starts a progress bar and returns what to call with its finished share."""
    import torch

    from netsuke import train
    from netsuke.engine import load
    from netsuke.lowering.export import export
    from netsuke.methods import binarize

    torch.manual_seed(SEED)
    data = open_dataset("digits", "train")
    images, _ = _tensors(data)
    network = make_network(width)
    _train(network, data, epochs, None, bar("training the float network"))
    student = binarize(copy.deepcopy(network), method="adabin", calibration=images[:256])
    _train(student, data, 2 * epochs, network, bar("training the binary network"))
    export(student, images[:2], out, preprocess=PREPROCESS, model="demo")
    engine = load(out, threads=1)

    held_out = open_dataset("digits", "test")
    test_images, test_labels = _tensors(held_out)
    classifier = Classifier(lambda x: np.asarray(engine(x)), (1, 8, 8), PREPROCESS, {})
    scores = {
        FLOAT: train.accuracy(network, test_images, test_labels),
        BINARY: train.accuracy(student, test_images, test_labels),
        ENGINE: accuracy(classifier, held_out)["top1"],
    }
    sizes = {FLOAT: checkpoint_bytes(network), BINARY: checkpoint_bytes(student), ENGINE: out.stat().st_size}
    taken = _race(network, student, engine, test_images[:1], bar("timing, one image, one thread"))
    timings = {name: summary({}, times) for name, times in taken.items()}
    return {
        "out": str(out),
        "bytes": sizes[ENGINE],
        "n": len(held_out),
        "machine": cpu_name(),
        "isa": engine.isa,
        "threads": 1,
        "batch": 1,
        "rows": {name: {"top1": scores[name], "bytes": sizes[name], **timings[name]} for name in scores},
        "ratio": {name: timings[name]["median_ms"] / timings[ENGINE]["median_ms"] for name in (FLOAT, BINARY)},
    }


def _train(
    network: nn.Module, data: Dataset, epochs: int, teacher: nn.Module | None, progress: Callable[[float], None]
) -> None:
    """AdamW with a cosine schedule; with a teacher, its outputs alone are learned."""
    from netsuke.train import Augment, Recipe, Teachers, fit

    recipe = Recipe.from_table(
        {
            "model": {"name": "demo"},
            "epochs": epochs,
            "batch": 64,
            "seed": SEED,
            "optimizer": {"name": "adamw", "learning_rate": 2e-3, "weight_decay": 1e-4},
            "loss": {"kind": "labels" if teacher is None else "soft"},
            "teacher": [] if teacher is None else [{"model": "demo"}],
        }
    )
    teachers = None if teacher is None else Teachers([teacher])
    fit(network, recipe, data, Augment(PREPROCESS), teachers=teachers, progress=lambda now: progress(now.share))


def make_network(width: int) -> nn.Module:
    """Four convolutions and a linear layer: (N, 1, 8, 8) -> (N, 10)."""
    from torch import nn

    def unit(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *unit(1, width),
        *unit(width, width),
        nn.MaxPool2d(2),
        *unit(width, width),
        *unit(width, width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 10),
    )


def checkpoint_bytes(module: nn.Module) -> int:
    """Bytes of the module's parameters and buffers as `torch.save` writes them."""
    import torch

    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    return file.tell()


def _tensors(data: Dataset) -> tuple[Tensor, Tensor]:
    import torch

    images, labels = data.read(np.arange(len(data)))
    return torch.from_numpy(normalise(images, PREPROCESS)), torch.from_numpy(labels)


@dataclass
class _Local:
    """A candidate of the race that runs in this process."""

    name: str
    once: Callable[[], object]

    def run(self, count: int) -> list[float]:
        return time_runs(self.once, count)


def _race(
    network: nn.Module, student: nn.Module, engine: Any, image: Tensor, progress: Callable[[float], None]
) -> dict[str, list[float]]:
    """Seconds a run, interleaved, on one thread on one core; the float network has its batch norms folded."""
    import torch

    from netsuke.cli.counterpart import fold_batch_norm

    folded, array = fold_batch_norm(network), image.numpy()
    racers = [
        _Local(FLOAT, lambda: folded(image)),
        _Local(BINARY, lambda: student(image)),
        _Local(ENGINE, lambda: engine(array)),
    ]
    threads, allowed = torch.get_num_threads(), os.sched_getaffinity(0)
    torch.set_num_threads(1)
    os.sched_setaffinity(0, cores_for(1))
    try:
        with torch.inference_mode():
            return race(racers, seconds=1.0, progress=progress)
    finally:
        os.sched_setaffinity(0, allowed)
        torch.set_num_threads(threads)


def _bar(bars: Progress, name: str) -> Callable[[float], None]:
    if not bars.console.is_terminal:
        remark(name)  # instead of a bar
    task = bars.add_task(name, total=1.0)
    return lambda share: bars.update(task, completed=share)


def _show(result: dict[str, Any]) -> None:
    rows = table("", "accuracy %", "bytes", "median ms", "time against netsuke")
    for name, row in result["rows"].items():
        ratio = f"{result['ratio'][name]:.1f}x" if name in result["ratio"] else "1"
        rows.add_row(name, f"{row['top1']:.1f}", f"{row['bytes']:,}", f"{row['median_ms']:.3f}", ratio)
    out, again = shlex.quote(result["out"]), program()
    show(
        f"handwritten digits, {result['n']} held out; one image, one thread, {result['machine']}, {result['isa']}",
        rows,
        f"wrote {out} in {result['seconds']:.0f} s. Next:",
        f"  {again} info {out}",
        f"  {again} eval {out} --data digits",
    )
