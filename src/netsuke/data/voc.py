"""Detection sets laid out as PASCAL VOC (Everingham et al. 2010)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from netsuke.artifact.contract import Error
from netsuke.data import files
from netsuke.data.annotation import Annotation
from netsuke.data.decode import SUFFIXES, Decoder, open_image
from netsuke.data.detection_dataset import Augmentation, DetectionDataset
from netsuke.data.voc_annotation import Objects, read_objects

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
# The image set of each split. "fit" and "val" part "train" as it was published, to choose hyper-parameters on.
IMAGE_SETS = {"train": "trainval", "test": "test", "fit": "train", "val": "val"}
YEARS = ("VOC2007", "VOC2012")
HOLDS = "Annotations, ImageSets/Main and JPEGImages, or VOC2007 and VOC2012 with these"


class VOC(DetectionDataset):
    """PATH/Annotations/NAME.xml and PATH/JPEGImages/NAME.jpg (png, ...) for the names in PATH/ImageSets/Main/SET.txt.

    split: "train" is the image set trainval, "test" is test; "fit" and "val" are the sets train and val, the parts of
    trainval. If PATH holds VOC2007 and VOC2012, "train", "fit" and "val" take both and "test" takes VOC2007: what is
    known as 07+12. decode: brings an image to a size; it may not crop, since boxes are relative to the whole image.

    classes: names, by the file or the model; None takes VOC's 20 if trainval has objects of no other class, else the
    sorted names of the objects in trainval. A box is clipped to the image. One without an area is left out, counted in
    `skipped` and told of in one warning. An image without objects is kept.

    Raises Error for a missing path, image set, XML file or image, for XML that cannot be read, and for an object of a
    class that is not in the list; when read, for what is no image.
    """

    decodes = True

    def __init__(
        self, path: str, split: str = "test", decode: Decoder | None = None, classes: Sequence[str] | None = None
    ) -> None:
        self.name = f"voc {split}"
        self.decode = Decoder() if decode is None else decode
        if self.decode.crop:
            raise Error(
                f"voc: a crop of {self.decode.crop} would cut the boxes off\n"
                "detection takes whole images: Preprocess(..., resize=300, fit='stretch')"
            )
        root = files.folder("voc", path, HOLDS)
        roots = [root / year for year in YEARS if (root / year).is_dir()] or [root]
        chosen = roots[:1] if split == "test" else roots
        found = [(folder, name) for folder in chosen for name in _image_set(folder, IMAGE_SETS[split])]
        read = cache(_objects)  # those of trainval are asked for twice
        objects = [read(*where) for where in found]
        self.classes = tuple(classes) if classes is not None else _classes(roots, objects, read)
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise Error(f"voc: classes are one or more different names, not {', '.join(self.classes) or 'none'}")
        self.paths = [_image(*where) for where in found]
        self._sizes = [
            seen.size if all(seen.size) else open_image(path, str(path), lambda image: image.size)
            for seen, path in zip(objects, self.paths, strict=True)
        ]
        self._annotations, self.skipped = [], 0
        for where, seen, size in zip(found, objects, self._sizes, strict=True):
            annotation = self._annotation(where, seen, size)
            self._annotations.append(annotation)
            self.skipped += seen.skipped + len(seen.names) - len(annotation.labels)
        if self.skipped:
            warnings.warn(f"{self.name}: {self.skipped} objects are left out, their box has no area", stacklevel=2)

    def __len__(self) -> int:
        return len(self.paths)

    def annotations(self, i: int) -> Annotation:
        return self._annotations[i]

    def size(self, i: int) -> tuple[int, int]:
        return self._sizes[i]

    def read(
        self, indices: np.ndarray, augmentation: Augmentation | None = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, list[Annotation]]:
        if augmentation is None:
            sources = ((self.paths[i], str(self.paths[i])) for i in indices)
            return self.decode.batch(sources), [self._annotations[i] for i in indices]
        if seeds is None:
            raise Error("an augmentation needs a seed for each image")
        images, annotations = [], []
        for i, seed in zip(indices, seeds, strict=True):
            image = open_image(self.paths[i], str(self.paths[i]), _whole)
            pixels, annotation = augmentation(image, self._annotations[i], np.random.default_rng(int(seed)))
            images.append(pixels)
            annotations.append(annotation)
        return np.stack(images), annotations

    def _annotation(self, where: tuple[Path, str], seen: Objects, size: tuple[int, int]) -> Annotation:
        for name in seen.names:
            if name not in self.classes:
                raise Error(f"{_xml(*where)}: {name} is not one of the classes\n{', '.join(self.classes)}")
        boxes = (seen.boxes / (size * 2)).clip(0, 1).astype(np.float32)
        labels = np.array([self.classes.index(name) for name in seen.names], np.int64)
        has_area = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
        return Annotation(boxes, labels, seen.difficult).take(has_area)


def _whole(opened: Image.Image) -> Image.Image:
    return opened.convert("RGB")


def _image_set(root: Path, name: str) -> list[str]:
    """The names of the images in one image set, one a line."""
    path = root / "ImageSets" / "Main" / f"{name}.txt"
    if not path.is_file():
        raise Error(f"voc: there is no image set {path}\nPATH should be a folder with {HOLDS}")
    lines = path.read_text("utf-8-sig", errors="replace").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise Error(f"voc: the image set {path} names no images")
    return names


def _xml(root: Path, name: str) -> Path:
    return root / "Annotations" / f"{name}.xml"


def _objects(root: Path, name: str) -> Objects:
    return read_objects(_xml(root, name))


def _image(root: Path, name: str) -> Path:
    places = (root / "JPEGImages" / f"{name}{suffix}" for suffix in (".jpg", *SUFFIXES))
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise Error(f"voc: {root / 'JPEGImages' / name}.jpg does not exist, but an image set names it")
    return found


def _classes(
    roots: Sequence[Path], objects: Sequence[Objects], read: Callable[[Path, str], Objects]
) -> tuple[str, ...]:
    """VOC's names, or those of trainval; of `objects`, the split's own, where no trainval was published."""
    trainval = [root for root in roots if (root / "ImageSets" / "Main" / "trainval.txt").is_file()]
    seen = [read(root, name) for root in trainval for name in _image_set(root, "trainval")] or objects
    names = {name for each in seen for name in each.names}
    return CLASSES if names <= set(CLASSES) else tuple(sorted(names))
