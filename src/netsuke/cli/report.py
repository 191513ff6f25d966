"""`netsuke report`: training runs, what their networks cost and how they are shaped, on one page."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any

import typer

from netsuke.artifact.contract import Error
from netsuke.cli import sections
from netsuke.cli.options import choice, count, seconds
from netsuke.cli.output import JsonOption, emit, require, show
from netsuke.cli.place import check_place
from netsuke.cli.studied import Survey, study, survey

STATISTICS = ("running", "batch")


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds runs of `netsuke train`, in it or below.")],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="Data set of the runs: measures the accuracy on its test images."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--runs", metavar="PATTERN", help="Only runs whose name fits: '*-0'. Repeatable."),
    ] = None,
    landscape: Annotated[
        bool, typer.Option("--landscape", help="Draw the loss around each network, on training images of --data.")
    ] = False,
    points: Annotated[
        int, typer.Option(parser=count("--points"), metavar="N", help="Points on a side of a landscape, odd.")
    ] = 21,
    images: Annotated[
        int, typer.Option(parser=count("--images"), metavar="N", help="Images of a landscape, evenly spaced.")
    ] = 1000,
    radius: Annotated[
        float, typer.Option(parser=seconds("--radius", 0.001), metavar="R", help="Half the side of a landscape.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the landscape's directions.")] = 0,
    statistics: Annotated[
        str,
        typer.Option(
            parser=choice("--statistics", *STATISTICS),
            metavar="|".join(STATISTICS),
            help="What batch norm uses in a landscape: the trained statistics, or each batch's.",
        ),
    ] = STATISTICS[0],
    feature_maps: Annotated[
        bool, typer.Option("--feature-maps", help="Show what layers make of the first test image of --data.")
    ] = False,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="NAME", help="A layer for --feature-maps, instead of some. Repeatable."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the pictures as SVG files here too.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(parser=count("--threads"), metavar="N", help="Threads of PyTorch.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write one HTML page on training runs: accuracy, cost, curves and, where asked for, landscapes and feature maps.

    A landscape takes minutes; it is kept in its run's folder row by row, and the same command goes on from there.
    """
    check_place(out)
    if (landscape or feature_maps or layer) and data is None:
        raise Error("--landscape and --feature-maps need --data SPEC, the data set that the runs were trained on")
    if landscape and (points < 3 or points % 2 == 0):
        raise Error(f"--points {points}: give an odd number, 3 or more, so that the trained network is one of them")
    require("train", "torch", "matplotlib")
    import torch

    from netsuke import atomic
    from netsuke.report import page, read_runs

    if threads is not None:
        torch.set_num_threads(threads)
    wanted = Survey(points, images, radius, seed, statistics)  # type: ignore[arg-type]
    chosen = [run for run in read_runs(folder) if any(fnmatch(run.name, pattern) for pattern in only or ["*"])]
    if not chosen:
        raise Error(f"no run in {folder} fits --runs {' or '.join(only or [])}: leave it out to see their names")
    studied = [study(run, data) for run in chosen]
    apart = sections.designs(studied)
    parts = [sections.runs(studied, data), *([] if apart is None else [apart])]
    parts += [sections.curves(studied), sections.operations(studied, data)]
    if landscape:
        for one in studied:
            survey(one, str(data), wanted)
        parts.append(sections.landscapes(studied, wanted))
    if feature_maps or layer:
        parts += [sections.maps(one, str(data), layer or []) for one in studied]
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        for what, picture in (named for part in parts for named in part.pictures):
            atomic.write(pictures / f"{re.sub(r'[^a-z0-9]+', '-', what.lower())}.svg", picture)
    text = page(f"Runs in {folder.resolve().name}", parts, "Written by `netsuke report`.")
    atomic.write(out, text.encode())
    result: dict[str, Any] = {"out": str(out), "bytes": out.stat().st_size, "runs": [one.facts() for one in studied]}
    if json:
        emit(result)
    else:
        show(f"wrote {out}: {result['bytes']:,} bytes, {len(studied)} runs")
