"""`netsuke detect`: pictures with the boxes that a detector finds in them."""

from __future__ import annotations

import io
import json as text
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image, ImageDraw, ImageFont

from netsuke import atomic
from netsuke.artifact.contract import Error
from netsuke.cli.detector import Detector
from netsuke.cli.evaluate import from_file
from netsuke.cli.options import count, share
from netsuke.cli.output import JsonOption, emit, show, table, watched
from netsuke.data import Detections, detections
from netsuke.data.decode import SUFFIXES, Decoder, open_image

# Colours that most people can tell apart (Okabe and Ito 2008), label by label in turn.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
JSON_NAME = "detections.json"


def detect(
    file: Annotated[Path, typer.Argument(help="A .netsuke file of a detector.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help=f"Where the pictures and {JSON_NAME} go.")],
    score: Annotated[
        float, typer.Option(parser=share("--score"), metavar="S", help="Show what has at least this score, 0 to 1.")
    ] = 0.5,
    threads: Annotated[int, typer.Option(parser=count("--threads"), metavar="N", help="Threads to run with.")] = 1,
    isa: Annotated[str | None, typer.Option(help="Force an instruction set, as in scalar, avx2.")] = None,
    json: JsonOption = False,
) -> None:
    """Find the objects in images: write each image with their boxes drawn, and all of them to DIR/detections.json."""
    detector = from_file(file, threads, isa)
    if not isinstance(detector, Detector):
        raise Error(f"{file} is not a detector: its network gives no boxes. `netsuke eval` measures a classifier")
    sizing = detector.sizing
    decode = Decoder(sizing.resize, sizing.crop, sizing.interpolation, detector.input_shape[0], sizing.fit)
    chosen = _files(images)
    for name in chosen:
        if (out / name).resolve() in {path.resolve() for path in chosen.values()}:
            raise Error(f"--out {out}: {name} would be written over an image that is to be read; choose another folder")
    found: dict[str, Any] = {}
    out.mkdir(parents=True, exist_ok=True)
    for name, path in watched(chosen.items(), "detecting", len(chosen)):
        pixels = decode(path, str(path))
        detector.check(pixels.shape, str(path))
        picture = open_image(path, str(path), lambda opened: opened.convert("RGB"))
        own = _above(score, detections(detector.run(pixels[None])[0], *picture.size))
        atomic.write(out / name, _png(draw(picture, own, detector.labels)))
        found[str(path)] = {
            "picture": name,
            "width": picture.width,
            "height": picture.height,
            "objects": _objects(own, detector.labels),
        }
    result = {"file": str(file), **detector.facts, "score": score, "images": found}
    atomic.write(out / JSON_NAME, (text.dumps(result, indent=1) + "\n").encode())
    if json:
        emit({**result, "out": str(out)})
    else:
        _show(result, out)


def draw(picture: Image.Image, found: Detections, labels: Sequence[str]) -> Image.Image:
    """A copy of an RGB picture with each box, its label and its score, the best on top. Boxes are in its pixels."""
    drawn = picture.copy()
    pen = ImageDraw.Draw(drawn)
    size = max(10, round(max(drawn.size) / 45))
    font, thick = ImageFont.load_default(size), max(1, size // 7)
    for box, label, score in reversed(list(zip(*found, strict=True))):
        colour = COLOURS[int(label) % len(COLOURS)]
        pen.rectangle([float(v) for v in box], outline=colour, width=thick)
        words = f"{labels[int(label)]} {score:.2f}"
        corner = (float(box[0]), max(0.0, float(box[1]) - size - 2))
        pen.rectangle(pen.textbbox(corner, words, font), fill=colour)
        pen.text(corner, words, "white", font)
    return drawn


def _files(images: Sequence[Path]) -> dict[str, Path]:
    """The image files, by the names of their pictures: those of a folder that end as images do, in sorted order.

    Raises Error for what is not there, a folder without images, and two that would have one name.
    """
    chosen: dict[str, Path] = {}
    for given in images:
        paths = [given]
        if given.is_dir():
            paths = sorted(p for p in given.iterdir() if p.suffix.lower() in SUFFIXES)
            if not paths:
                raise Error(f"{given} holds no images (looked for {', '.join(SUFFIXES)})")
        elif not given.is_file():
            raise Error(f"there is no image at {given}: check the path")
        for path in paths:
            name = f"{path.stem}.png"
            if name in chosen:
                raise Error(f"{path} and {chosen[name]} would both become {name}: give them in two runs")
            chosen[name] = path
    return chosen


def _above(score: float, found: Detections) -> Detections:
    chosen = found.scores >= score
    return Detections(found.boxes[chosen], found.labels[chosen], found.scores[chosen])


def _objects(found: Detections, labels: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"label": labels[int(label)], "score": round(float(score), 4), "box": [round(float(v), 2) for v in box]}
        for box, label, score in zip(*found, strict=True)
    ]


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _show(result: dict[str, Any], out: Path) -> None:
    rows = table("image", "objects", "of which")
    for path, own in result["images"].items():
        kinds = Counter(entry["label"] for entry in own["objects"])
        rows.add_row(path, str(len(own["objects"])), ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())))
    count = len(result["images"])
    show(rows, f"wrote {count} picture{'s' if count > 1 else ''} and {JSON_NAME} to {out}")
