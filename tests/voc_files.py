"""Small detection sets laid out as PASCAL VOC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image


class Thing(NamedTuple):
    """One object: VOC's pixels count from 1, and both ends are inside of the box."""

    name: str
    box: Sequence[float | str] = (3, 2, 10, 8)
    extra: str = "<difficult>0</difficult>"


SIZE = "<size><width>20</width><height>10</height><depth>3</depth></size>"


def xml(things: Sequence[Thing], size: str = SIZE) -> str:
    ends = ("xmin", "ymin", "xmax", "ymax")
    objects = (
        f"<object><name>{thing.name}</name><truncated>1</truncated>{thing.extra}<bndbox>"
        + "".join(f"<{end}>{value}</{end}>" for end, value in zip(ends, thing.box, strict=True))
        + "</bndbox></object>"
        for thing in things
    )
    return f"<annotation>{size}{''.join(objects)}</annotation>"


def write_voc(
    root: Path, sets: Mapping[str, Mapping[str, str | Sequence[Thing]]], size: tuple[int, int] = (20, 10)
) -> Path:
    """The folder `root` with image sets {set: {name of an image: its XML, or its objects}}; images are noise."""
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    width, height = size
    own = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    for chosen, images in sets.items():
        (root / f"ImageSets/Main/{chosen}.txt").write_text("".join(f"{name}\n" for name in images))
        for name, content in images.items():
            (root / f"Annotations/{name}.xml").write_text(content if isinstance(content, str) else xml(content, own))
            pixels = np.random.default_rng(len(name)).integers(0, 256, (size[1], size[0], 3), np.uint8)
            Image.fromarray(pixels).save(root / f"JPEGImages/{name}.jpg")
    return root
