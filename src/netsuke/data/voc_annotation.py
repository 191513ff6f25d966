"""One file of PASCAL VOC's Annotations folder (Everingham et al. 2010): XML, boxes in pixels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from netsuke.artifact.contract import Error, first_line

LARGEST = 1 << 24  # bytes; those of VOC have up to some ten thousand


class Objects(NamedTuple):
    """names: of the n objects. boxes: float64 (n, 4), x1, y1, x2, y2 in pixels, from 0, the right and lower ends
    outside. difficult: bool (n,). size: width and height of the image, 0 where the file does not say. skipped: how
    many more objects have a box without an area.
    """

    names: list[str]
    boxes: np.ndarray
    difficult: np.ndarray
    size: tuple[int, int]
    skipped: int


class _NoDoctype(ElementTree.TreeBuilder):
    """VOC's files declare no document type, and without one there are no entities to expand."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it declares a document type, which may hide entities")


def read_objects(path: Path) -> Objects:
    """The objects of one XML file.

    Raises Error, naming the file, if it is missing, too large or no XML, declares a document type, or has an object
    without a name or four finite coordinates.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
        root = ElementTree.XML(data, ElementTree.XMLParser(target=_NoDoctype()))
    except (OSError, ValueError, LookupError, ElementTree.ParseError) as error:
        raise Error(
            f"{path} is not an XML file that can be read: take its image out of the set or mend it\n"
            f"({first_line(error)})"
        ) from None
    names, boxes, difficult, skipped = [], [], [], 0
    for number, entry in enumerate(root.findall("object"), 1):
        name = (entry.findtext("name") or "").strip()
        corners = [_number(entry.findtext(f"bndbox/{end}")) for end in ("xmin", "ymin", "xmax", "ymax")]
        if not name or not all(map(math.isfinite, corners)):
            raise Error(
                f"{path}: object {number} ({name or 'without a name'}) needs a name and four numbers in its bndbox, "
                "xmin, ymin, xmax, ymax"
            )
        left, top, right, bottom = corners
        if right <= left or bottom <= top:
            skipped += 1
            continue
        names.append(name)
        boxes.append((left - 1, top - 1, right, bottom))  # VOC counts pixels from 1, and both ends are inside
        difficult.append(_number(entry.findtext("difficult", "0")) == 1)
    width, height = (_number(root.findtext(f"size/{side}", "0")) for side in ("width", "height"))
    size = (int(width), int(height)) if 0 < width < math.inf and 0 < height < math.inf else (0, 0)
    return Objects(names, np.array(boxes, np.float64).reshape(-1, 4), np.array(difficult, bool), size, skipped)


def _number(text: str | None) -> float:
    """NaN for what is not a number. Some writers put fractions of pixels."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
