"""The pictures of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from netsuke.analyze.landscape import Landscape, smoothness
from netsuke.analyze.sensitivity import Sensitivity
from netsuke.report.published import Point
from netsuke.report.runs import Run
from netsuke.report.style import CYCLE, FAINT, INK, OURS, STYLE

LEVELS = 24  # of the contours, equally far apart on a logarithmic scale
COLUMNS = 4  # panels beside one another
CHANNELS = 8  # of a feature map
# Where a name may stand beside its point: offset in typographic points, and which of its ends is there. Best first.
BESIDE = [(6, 0, "left"), (-6, 0, "right"), (5, 7, "left"), (5, -7, "left"), (-5, 7, "right"), (-5, -7, "right")]


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
    """Loss and accuracy over the epochs, a colour a run; that of held-out images dashed, a detector's mAP."""
    with pyplot.rc_context(STYLE):
        figure, (losses, accuracies) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
        for i, run in enumerate(runs):
            look: dict[str, Any] = {"color": CYCLE[i % len(CYCLE)], "marker": "o", "markersize": 2.5}
            losses.plot(*run.series("loss"), label=run.name, **look)
            accuracies.plot(*run.series("train_accuracy"), **look)
            accuracies.plot(*run.series(run.held_out), linestyle="--", **look)
        losses.set(xlabel="epoch", ylabel="training loss")
        accuracies.set(xlabel="epoch", ylabel="accuracy, %: training, held out (dashed)")
        for axes in (losses, accuracies):
            axes.grid(color="#E9E9E9", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center", ncols=min(4, max(1, len(runs))), frameon=False)
    return figure


def accuracy_against_ops(published: Sequence[Point], ours: Sequence[Point] = (), title: str = "") -> Figure:
    """Published networks in grey, ours in blue; operations on a logarithmic axis."""
    points = [(point, False) for point in published] + [(point, True) for point in ours]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(8.5, 5.5), layout="constrained")
        for point, own in points:
            colour, size = (OURS, 7) if own else (FAINT, 5)
            axes.plot(point.ops / 1e9, point.accuracy, "o", color=colour, markersize=size)
        axes.set(xscale="log", xlabel="OPs = BOPs / 64 + FLOPs of one image, G (logarithmic)", ylabel="top-1, %")
        axes.set_title(title, loc="left", fontsize=9)
        ops = [point.ops / 1e9 for point, _ in points]
        axes.set_xlim(min(ops) / 1.15, max(ops) * 1.5)
        axes.margins(y=0.06)
        _logarithmic(axes)
        figure.draw_without_rendering()
        _label(axes, [(point.name, point.ops / 1e9, point.accuracy, own) for point, own in points])
    return figure


def sensitivity_curves(found: Sensitivity, measured: str = "held-out accuracy, %") -> Figure:
    """A line a layer: accuracy when it alone is pruned, without retraining (Han et al. 2015, figure 6)."""
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(6.5, 3.8), layout="constrained")
        left = [100 * (1 - share) for share in found.shares]
        names = list(found.scores)
        few = len(names) <= len(CYCLE)
        for i, name in enumerate(names):
            colour = CYCLE[i] if few else pyplot.get_cmap("viridis")(i / (len(names) - 1))
            axes.plot(left, found.scores[name], "o-", color=colour, markersize=3, linewidth=1.2, label=name)
        axes.invert_xaxis()
        axes.set(xlabel="weights of the layer that are left, %", ylabel=measured)
        axes.grid(color="#E9E9E9", linewidth=0.8)
        axes.set_axisbelow(True)
        shown = names if few else [names[0], names[len(names) // 2], names[-1]]
        handles = [line for line in axes.get_lines() if line.get_label() in shown]
        axes.legend(handles=handles, frameon=False, title=None if few else "from the first layer to the last")
    return figure


def compression_rounds(report: Mapping[str, Any]) -> Figure:
    """Error against the size of the file, round by round, of `netsuke.train.deep_compression`'s report."""
    rounds = report["rounds"]
    sizes = [r["bytes"] for r in rounds]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(6.5, 3.8), layout="constrained")
        axes.axhline(report["float_error"], color=FAINT, linewidth=1, linestyle="--", label="the float network")
        axes.plot(sizes, [r["pruned_error"] for r in rounds], "o:", color=FAINT, markersize=4, label="pruned")
        axes.plot(sizes, [r["error"] for r in rounds], "o-", color=OURS, label="pruned and shared: the file")
        for r in rounds:
            chosen = r["round"] == report["chosen"]
            axes.annotate(
                f"{100 * r['density']:.3g} %", (r["bytes"], r["error"]), (0, 8), textcoords="offset points",
                ha="center", weight="bold" if chosen else "normal", color=OURS if chosen else INK,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="bytes of the file (logarithmic)", ylabel="held-out images wrong, %")
        axes.margins(x=0.12, y=0.12)
        _logarithmic(axes)
        axes.legend(frameon=False, title="% of the weights that are left")
    return figure


def tradeoffs(points: Mapping[str, float], costs: Mapping[str, Mapping[str, float]]) -> Figure:
    """Accuracy against each cost, logarithmic; what no other network beats in both is blue, on a line.

    points: network -> top-1, per cent. costs: what is measured, with its unit -> {network: value}.
    """
    with pyplot.rc_context(STYLE):
        figure, panels = pyplot.subplots(
            1, len(costs), figsize=(4.4 * len(costs), 4.2), layout="constrained", squeeze=False, sharey=True
        )
        for axes, (cost, values) in zip(panels[0], costs.items(), strict=True):
            best = pareto_front({name: (values[name], points[name]) for name in values})
            axes.plot([values[name] for name in best], [points[name] for name in best], color=OURS, linewidth=1)
            for name, value in values.items():
                own = name in best
                axes.plot(value, points[name], "o", color=OURS if own else FAINT, markersize=6 if own else 5)
            axes.set(xscale="log", xlabel=cost)
            low, high = min(values.values()), max(values.values())
            axes.set_xlim(low / 1.4, high * 1.4 * (high / low) ** 0.25)
            _logarithmic(axes)
        panels[0, 0].set_ylabel("top-1, %")
        panels[0, 0].margins(y=0.08)
        figure.draw_without_rendering()
        for axes, values in zip(panels[0], costs.values(), strict=True):
            best = pareto_front({name: (values[name], points[name]) for name in values})
            _label(axes, [(name, value, points[name], name in best) for name, value in values.items()])
    return figure


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The networks that no other one beats, from cheap to dear. points: network -> (cost, accuracy)."""
    ordered = sorted(points, key=lambda name: (points[name][0], -points[name][1]))
    best: list[str] = []
    for name in ordered:
        if not best or points[name][1] > points[best[-1]][1]:
            best.append(name)
    return best


def _logarithmic(axes: Axes) -> None:
    """Ticks of a logarithmic x axis as short numbers, and a grid."""
    low, high = axes.get_xlim()
    subs = (1, 1.5, 2, 3, 5, 7) if high / low < 20 else (1, 2, 5) if high / low < 300 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(color="#E9E9E9", linewidth=0.8)
    axes.set_axisbelow(True)


def _short(value: float) -> str:
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def _label(axes: Axes, points: Sequence[tuple[str, float, float, bool]]) -> None:
    """A name beside each point (name, x, y, whether it stands out), where it hides neither a point nor another name, as
    far as that can be had."""
    places = axes.transData.transform([(x, y) for _, x, y, _ in points])
    taken = [Bbox.from_extents(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    frame = axes.get_window_extent()
    for name, x, y, own in sorted(points, key=lambda entry: -entry[2]):
        label = axes.annotate(
            name, (x, y), BESIDE[0][:2], textcoords="offset points", va="center",
            fontsize=7.5, color=OURS if own else INK, weight="bold" if own else "normal",
        )  # fmt: skip
        best: tuple[int, int] | None = None
        for i, (dx, dy, side) in enumerate(BESIDE):
            label.set(position=(dx, dy), ha=side)
            box = label.get_window_extent()
            hidden = sum(box.overlaps(other) for other in taken) + 2 * (box.x0 < frame.x0) + 2 * (box.x1 > frame.x1)
            if best is None or hidden < best[0]:
                best = hidden, i
        assert best is not None
        dx, dy, side = BESIDE[best[1]]
        label.set(position=(dx, dy), ha=side)
        taken.append(label.get_window_extent())


def maps(image: np.ndarray, found: Mapping[str, np.ndarray], channels: int = CHANNELS) -> Figure:
    """The image, and a row a layer with its first `channels` maps, each row from its least to its most.

    image: uint8 (C, H, W), C 1 or 3. found: layer -> (C, H, W), as `netsuke.analyze.feature_maps` gives it.
    """
    lines = len(found) + 1
    with pyplot.rc_context(STYLE):
        figure, panels = pyplot.subplots(
            lines, channels, figsize=(1.05 * channels, 1.3 * lines), layout="constrained", squeeze=False
        )
        for axes in panels[0]:
            axes.set_axis_off()
        panels[0, 0].imshow(image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        panels[0, 0].set_title(f"the image, {'x'.join(map(str, image.shape))}", loc="left", fontsize=8)
        for row, (name, layer) in zip(panels[1:], found.items(), strict=True):
            for axes in row:
                axes.set_axis_off()
            for axes, channel in zip(row, layer, strict=False):
                axes.imshow(channel, cmap="gray", vmin=layer.min(), vmax=layer.max(), interpolation="nearest")
            row[0].set_title(f"{name}, {'x'.join(map(str, layer.shape))}", loc="left", fontsize=8)
    return figure
