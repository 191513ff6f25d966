"""What a command prints: one JSON object, or tables for people. Progress and remarks go to standard error."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn, track
from rich.table import Table

from netsuke.artifact.contract import Error

T = TypeVar("T")

UNBROKEN = 10_000  # columns; no table is so wide
DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # packages that are installed under another name

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")]


def emit(result: dict[str, Any]) -> None:
    """Print the one JSON object of a command, at once, so that a closed pipe is noticed here."""
    print(json.dumps(result, allow_nan=False))
    sys.stdout.flush()


def show(*parts: Table | str) -> None:
    """Print tables and lines on standard output: tables at the width of the terminal, if any; lines are not broken."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else UNBROKEN)
    for part in parts:
        print(part, flush=True) if isinstance(part, str) else console.print(part)
    sys.stdout.flush()


def remark(text: str) -> None:
    """Say something on standard error."""
    print(text, file=sys.stderr)


def stderr_console() -> Console:
    """Where progress bars go: standard error, or nowhere if nobody watches it."""
    console = Console(stderr=True, highlight=False)
    console.quiet = not console.is_terminal
    return console


def watched(steps: Iterable[T], description: str, total: int) -> Iterable[T]:
    """The same steps, with a bar on standard error while they are taken."""
    return track(steps, description=description, total=total, console=stderr_console(), transient=True)


def training_bars(console: Console) -> Progress:
    """A bar with the time taken and left, and a field `state`; it leaves nothing behind."""
    columns = BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn(), TimeRemainingColumn()
    return Progress(TextColumn("{task.description}"), *columns, console=console, transient=True)


def table(*columns: str) -> Table:
    """An empty table whose first column is text and whose other columns are numbers."""
    made = Table()
    for position, column in enumerate(columns):
        made.add_column(column, justify="left" if position == 0 else "right")
    return made


def require(extra: str, *packages: str) -> None:
    """Raises Error, saying what to install, unless these packages can be imported."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            name = DISTRIBUTIONS.get(package, package)
            raise Error(
                f"this needs {name} ({error})\npip install {name}, or in the netsuke folder: pip install '.[{extra}]'"
            ) from None
