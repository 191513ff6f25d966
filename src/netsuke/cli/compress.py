"""`netsuke compress METHOD`: a trained network in, a smaller or faster one out."""

from __future__ import annotations

import typer

from netsuke.cli.deep_compression import deep_compression
from netsuke.cli.low_rank import low_rank

compress = typer.Typer(
    help="Make a trained network smaller or faster: by Deep Compression, or by layers of low rank.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
compress.command("deep-compression")(deep_compression)
compress.command("low-rank")(low_rank)
