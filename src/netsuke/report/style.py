"""How our pictures look, and how they become files. The colours are Okabe and Ito's, for colour-blind readers too."""

from __future__ import annotations

import io
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.figure import Figure

OURS, INK, FAINT = "#0072B2", "#222222", "#8A8A8A"
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222", "#8A8A8A")
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "netsuke",  # the same figures give the same file
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


def svg(figure: Figure) -> bytes:
    """The figure as a file; the figure is closed."""
    content = io.BytesIO()
    with pyplot.rc_context(STYLE):
        figure.savefig(content, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return content.getvalue()


def spread(heights: dict[str, float], least: float) -> dict[str, float]:
    """The same heights, moved upwards as far as needed for labels to be `least` apart."""
    moved: dict[str, float] = {}
    below = None
    for label, height in sorted(heights.items(), key=lambda item: item[1]):
        below = height if below is None else max(height, below + least)
        moved[label] = below
    return moved
