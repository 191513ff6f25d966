"""`netsuke models`: the zoo."""

from __future__ import annotations

from netsuke.cli.output import JsonOption, emit, require, show, table


def models(json: JsonOption = False) -> None:
    """List the models that `export --model NAME` knows."""
    require("train", "torch")
    from netsuke.models import get_model, list_models

    entries = [get_model(name) for name in list_models()]
    rows = [{"name": e.name, "paper": e.paper, "task": e.task, "input": list(e.input)} for e in entries]
    if json:
        emit({"models": rows})
        return
    listing = table("name", "input", "task", "paper")
    for entry in entries:
        listing.add_row(entry.name, "x".join(map(str, entry.input)), entry.task, entry.paper)
    show(f"{len(rows)} models", listing)
