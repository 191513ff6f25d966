"""`netsuke compress METHOD`: a trained network in, a smaller or faster one out."""

from __future__ import annotations

from typing import Any

import typer

from netsuke.artifact.contract import Error
from netsuke.cli.deep_compression import deep_compression
from netsuke.cli.low_rank import low_rank


class _Methods(typer.core.TyperGroup):
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = super().get_command(ctx, cmd_name)
        if found is None:
            raise Error(f"METHOD {cmd_name}: choose {' or '.join(self.list_commands(ctx))}")
        return found


compress = typer.Typer(cls=_Methods, rich_markup_mode=None, subcommand_metavar="METHOD [ARGS]...")
compress.command("deep-compression")(deep_compression)
compress.command("low-rank")(low_rank)


@compress.callback(invoke_without_command=True)
def methods(context: typer.Context) -> None:
    """Make a trained network smaller or faster, by one of these methods; each has a --help of its own."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
