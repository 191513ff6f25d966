"""The pictures of docs/benchmarks.md."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from netsuke.report.style import FAINT, INK, OURS, STYLE, spread, svg

__all__ = ["growth", "latency", "number", "spread", "svg"]

LINES = {
    "onnxruntime_f32": ("ONNX Runtime float32", "#D55E00", "s"),
    "openvino_int8": ("OpenVINO int8", "#009E73", "^"),
    "netsuke": ("netsuke", OURS, "o"),
    "netsuke_int8": ("netsuke, int8", "#56B4E9", "D"),
}
PANELS = {
    "size": "side of the image, pixels",
    "width": "channels of the first stage",
    "batch": "images in a batch",
    "threads": "threads",
}


def latency(race: dict[str, Any]) -> Figure:
    """A dot for each candidate of a race, fastest first, time on a logarithmic axis."""
    entries = sorted(race["candidates"].items(), key=lambda item: -item[1]["median_ms"])
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(7.5, 0.6 + 0.27 * len(entries)), layout="constrained")
        low = min(entry["median_ms"] for _, entry in entries) / 1.6
        high = max(entry["median_ms"] for _, entry in entries) * 1.9
        for row, (name, entry) in enumerate(entries):
            own = name.startswith("netsuke")
            colour, weight = (OURS, "bold") if own else (INK, "normal")
            axes.plot([low, entry["median_ms"]], [row, row], color="#E4E4E4", linewidth=1, zorder=1)
            axes.plot(entry["median_ms"], row, "o", color=colour if own else FAINT, markersize=6, zorder=2)
            axes.annotate(
                f"{number(entry['median_ms'])} ms", (entry["median_ms"], row), (7, 0), textcoords="offset points",
                va="center", color=colour, weight=weight,
            )  # fmt: skip
        axes.set_yticks(range(len(entries)), [name for name, _ in entries])
        for label in axes.get_yticklabels():
            if label.get_text().startswith("netsuke"):
                label.set(color=OURS, weight="bold")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set(xscale="log", xlim=(low, high), ylim=(-0.6, len(entries) - 0.4))
        axes.set_xlabel("median time of one image, ms, one thread (logarithmic)")
        _plain(axes, "x")
    return figure


def growth(results: dict[str, Any]) -> Figure:
    """Time of an image against size, width, batch and threads, both axes logarithmic."""
    with pyplot.rc_context(STYLE):
        figure, panels = pyplot.subplots(2, 2, figsize=(9, 7), layout="constrained")
        for axes, (what, label) in zip(panels.flat, PANELS.items(), strict=True):
            _panel(axes, results[what])
            axes.set_xlabel(label)
        for axes in panels[:, 0]:
            axes.set_ylabel("median time of an image, ms")
    return figure


def _panel(axes: Axes, points: list[dict[str, Any]]) -> None:
    xs = [point["x"] for point in points]
    axes.set(xscale="log", yscale="log")
    ends = {}
    for name, (label, colour, marker) in LINES.items():
        drawn = [(point["x"], point["candidates"][name]) for point in points if name in point["candidates"]]
        if not drawn:
            continue
        times = [entry["median_ms"] / entry["batch"] for _, entry in drawn]
        axes.plot([x for x, _ in drawn], times, marker=marker, markersize=4.5, linewidth=1.6, color=colour)
        ends[label] = (times[-1], colour)
    axes.set_xlim(min(xs) / 1.12, max(xs) * 1.12)
    axes.set_xticks(xs, [str(x) for x in xs])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color="#E9E9E9", linewidth=0.8)
    axes.set_axisbelow(True)
    _plain(axes, "y")
    to_screen = axes.transScale
    low, high = (to_screen.transform((1, edge))[1] for edge in axes.get_ylim())
    at = {label: to_screen.transform((1, time))[1] for label, (time, _) in ends.items()}
    heights = spread(at, 0.055 * (high - low))
    for label, height in heights.items():
        time = to_screen.inverted().transform((0, height))[1]
        axes.annotate(
            label, (1, time), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", color=ends[label][1], weight="bold", fontsize=8, annotation_clip=False,
        )  # fmt: skip


def _plain(axes: Axes, which: str) -> None:
    """Ticks at 1, 2, 5 of each decade, written as plain numbers."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    places = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{places}f}"
