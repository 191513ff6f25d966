"""The commands put together, and how errors reach the user."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from netsuke import __version__
from netsuke.artifact.contract import Error
from netsuke.cli.bench import bench
from netsuke.cli.compare import compare
from netsuke.cli.compress import compress
from netsuke.cli.demo import demo
from netsuke.cli.detect import detect
from netsuke.cli.evaluate import evaluate
from netsuke.cli.export import export
from netsuke.cli.info import info
from netsuke.cli.models import models
from netsuke.cli.profile import profile
from netsuke.cli.report import report
from netsuke.cli.train import train

USER_ERROR = 2
INTERRUPTED = 130

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo)
app.command("models")(models)
app.command("train")(train)
app.add_typer(compress, name="compress")
app.command("export")(export)
app.command("eval")(evaluate)
app.command("detect")(detect)
app.command("bench")(bench)
app.command("compare")(compare)
app.command("info")(info)
app.command("profile")(profile)
app.command("report")(report)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Carve a PyTorch vision network down to one bit a weight, and run it faster than float on a CPU."""
    if version:
        typer.echo(f"netsuke {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
    else:
        return
    raise typer.Exit


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status: 0, 2 for an error meant for the user, 130 when interrupted."""
    try:
        command = typer.main.get_command(app)
        status = command.main(args=arguments, prog_name="netsuke", standalone_mode=False)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Error as error:
        return _fail(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except MemoryError:
        return _fail("not enough memory for this model and batch: make --batch smaller")
    except Exception as error:
        # Wrong options: the class has lived in different private places of typer's versions, the method has not moved.
        if not hasattr(error, "format_message"):
            raise
        return _fail(f"{error.format_message()}\n`netsuke --help` and `netsuke COMMAND --help` say what there is")
    if status == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    return status or 0


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return USER_ERROR
