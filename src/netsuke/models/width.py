"""The argument `width` of the models: narrow networks of the published shape."""

from __future__ import annotations

from netsuke.artifact.contract import Error


def scaled(stem: int, width: float) -> int:
    """The stem's channels times `width`, to a multiple of 8. Raises netsuke.Error where that is 0."""
    if isinstance(width, bool) or not isinstance(width, (int, float)) or not 0 < width < float("inf"):
        raise Error(f"width is {width!r}: give a number above 0, which multiplies the published widths")
    channels = 8 * round(stem * width / 8)
    if channels < 8:
        raise Error(
            f"width {width} leaves {stem * width:.3g} channels in the first layer: give at least {8 / stem:.3g}"
        )
    return channels
