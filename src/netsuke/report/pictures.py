"""The pictures of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from netsuke.analyze.landscape import Landscape, smoothness
from netsuke.report.published import Point
from netsuke.report.runs import Run
from netsuke.report.style import CYCLE, FAINT, INK, OURS, STYLE, spread

LEVELS = 24  # of the contours, equally far apart on a logarithmic scale
COLUMNS = 4  # panels beside one another
CHANNELS = 8  # of a feature map


def contours(landscapes: Mapping[str, Landscape]) -> Figure:
    """Landscapes side by side: contours of the loss at the same levels, in the same colours, in all panels."""
    lowest = min(float(landscape.loss.min()) for landscape in landscapes.values())
    highest = max(float(landscape.loss.max()) for landscape in landscapes.values())
    lowest = max(lowest, highest / 1e4, 1e-12)  # so few levels should not all go to losses next to 0
    levels = np.geomspace(lowest, max(highest, lowest * 1.001), LEVELS)
    norm = LogNorm(levels[0], levels[-1])
    columns = min(COLUMNS, len(landscapes))
    lines = ceil(len(landscapes) / columns)
    with pyplot.rc_context(STYLE):
        figure, panels = pyplot.subplots(
            lines, columns, figsize=(2.5 * columns + 0.9, 3.1 * lines), layout="constrained", squeeze=False,
            sharex=True, sharey=True,
        )  # fmt: skip
        for axes in panels.flat[len(landscapes) :]:
            axes.set_visible(False)
        for axes, (name, landscape) in zip(panels.flat, landscapes.items(), strict=False):
            shown = landscape.loss.clip(levels[0], levels[-1])
            filled = axes.contourf(landscape.at, landscape.at, shown, levels, norm=norm, cmap="viridis")
            axes.contour(landscape.at, landscape.at, shown, levels, colors="white", linewidths=0.4, alpha=0.6)
            axes.plot(0, 0, "+", color="white", markersize=8, markeredgewidth=1.5)
            figures, middle = smoothness(landscape.loss), len(landscape.at) // 2
            axes.set_title(name, weight="bold", fontsize=9)
            axes.set_xlabel(
                f"loss {landscape.loss[middle, middle]:.2f}, rise {figures.rise:.2f}\n"
                f"bumps {figures.bumps:.3f}, bend {figures.bend:.3f}"
            )
            axes.set_aspect("equal")
        ticks = [t for d in (1e-4, 1e-3, 0.01, 0.1, 1, 10, 100, 1e3) for t in (d, 2 * d, 5 * d)]
        bar = figure.colorbar(filled, ax=panels.ravel().tolist(), shrink=0.8, pad=0.02)
        bar.set_ticks([t for t in ticks if levels[0] <= t <= levels[-1]], minor=False)
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        bar.set_label("cross entropy, nats an image")
    return figure


def curves(runs: Sequence[Run]) -> Figure:
    """Loss and accuracy over the epochs, a colour a run; held-out accuracy dashed, where there is one."""
    with pyplot.rc_context(STYLE):
        figure, (losses, accuracies) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
        for i, run in enumerate(runs):
            look: dict[str, Any] = {"color": CYCLE[i % len(CYCLE)], "marker": "o", "markersize": 2.5}
            losses.plot(*run.series("loss"), label=run.name, **look)
            accuracies.plot(*run.series("train_accuracy"), **look)
            accuracies.plot(*run.series("validation_accuracy"), linestyle="--", **look)
        losses.set(xlabel="epoch", ylabel="training loss")
        accuracies.set(xlabel="epoch", ylabel="top-1, %: training, held out (dashed)")
        for axes in (losses, accuracies):
            axes.grid(color="#E9E9E9", linewidth=0.8)
            axes.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=min(4, max(1, len(runs))), frameon=False)
    return figure


def accuracy_against_ops(published: Sequence[Point], ours: Sequence[Point] = (), title: str = "") -> Figure:
    """Published networks in grey, ours in blue; operations on a logarithmic axis."""
    points = [(point, False) for point in published] + [(point, True) for point in ours]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(8.5, 5.5), layout="constrained")
        for point, own in points:
            look = {"color": OURS if own else FAINT, "markersize": 7 if own else 5}
            axes.plot(point.ops / 1e9, point.accuracy, "o", **look)
        axes.set(xscale="log", xlabel="OPs = BOPs / 64 + FLOPs of one image, G (logarithmic)", ylabel="top-1, %")
        axes.set_title(title, loc="left", fontsize=9)
        ops = [point.ops / 1e9 for point, _ in points]
        axes.set_xlim(min(ops) / 1.15, max(ops) * 1.5)
        axes.margins(y=0.06)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(color="#E9E9E9", linewidth=0.8)
        axes.set_axisbelow(True)
        _label(axes, points)
    return figure


def _label(axes: Any, points: list[tuple[Point, bool]]) -> None:
    """Names to the right of the points, apart from one another where points stand in a column."""
    axes.figure.draw_without_rendering()
    low, high = axes.get_ylim()
    width = 0.25  # of a name, in decades of the axis: those nearer than that may touch
    columns: list[list[tuple[Point, bool]]] = []
    for entry in sorted(points, key=lambda e: e[0].ops):
        place = np.log10(entry[0].ops)
        if columns and place - np.log10(columns[-1][0][0].ops) < width:
            columns[-1].append(entry)
        else:
            columns.append([entry])
    for column in columns:
        heights = spread({str(i): point.accuracy for i, (point, _) in enumerate(column)}, 0.026 * (high - low))
        for i, (point, own) in enumerate(column):
            axes.annotate(
                point.name, (point.ops / 1e9, heights[str(i)]), (6, 0), textcoords="offset points", va="center",
                fontsize=7.5, color=OURS if own else INK, weight="bold" if own else "normal",
            )  # fmt: skip


def maps(found: Mapping[str, np.ndarray], channels: int = CHANNELS) -> Figure:
    """A row a layer with its first `channels` maps: each row has a grey scale of its own, from its least to its most.

    found: layer -> (C, H, W), as `netsuke.analyze.feature_maps` gives it.
    """
    with pyplot.rc_context(STYLE):
        figure, panels = pyplot.subplots(
            len(found), channels, figsize=(1.05 * channels, 1.3 * len(found)), layout="constrained", squeeze=False
        )
        for row, (name, layer) in zip(panels, found.items(), strict=True):
            for axes in row:
                axes.set_axis_off()
            for axes, channel in zip(row, layer, strict=False):
                axes.imshow(channel, cmap="gray", vmin=layer.min(), vmax=layer.max(), interpolation="nearest")
            row[0].set_title(f"{name}, {'x'.join(map(str, layer.shape))}", loc="left", fontsize=8)
    return figure
