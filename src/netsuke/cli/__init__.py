"""The `netsuke` command."""

from netsuke.cli.app import main

__all__ = ["main"]
