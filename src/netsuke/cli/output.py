"""What a command prints: one JSON object, or tables for people. Progress and remarks go to standard error."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from netsuke.artifact.contract import Error

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")]


def emit(result: dict[str, Any]) -> None:
    """Print the one JSON object of a command, at once, so that a closed pipe is noticed here."""
    print(json.dumps(result, allow_nan=False))
    sys.stdout.flush()


def show(*parts: Table | str) -> None:
    """Print tables and lines on standard output, at the width of the terminal, or wide where there is none."""
    console = Console(highlight=False, soft_wrap=True) if sys.stdout.isatty() else Console(highlight=False, width=120)
    for part in parts:
        console.print(part, markup=False) if isinstance(part, str) else console.print(part)
    sys.stdout.flush()


def remark(text: str) -> None:
    """Say something on standard error."""
    print(text, file=sys.stderr)


def stderr_console() -> Console:
    """Where progress bars go: standard error, or nowhere if nobody watches it."""
    console = Console(stderr=True, highlight=False)
    console.quiet = not console.is_terminal
    return console


def table(title: str, *columns: str) -> Table:
    """An empty table whose first column is text and whose other columns are numbers."""
    made = Table(title=title, title_justify="left", title_style="bold")
    for position, column in enumerate(columns):
        made.add_column(column, justify="left" if position == 0 else "right")
    return made


def require(extra: str, *packages: str) -> None:
    """Raises Error, saying what to install, unless these packages can be imported."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise Error(f"this needs {package} ({error}): pip install 'netsuke[{extra}]'") from None
