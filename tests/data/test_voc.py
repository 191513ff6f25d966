"""Detection sets laid out as PASCAL VOC: what is read from them, and what is said of damaged ones."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netsuke import Preprocess
from netsuke.artifact.contract import Error
from netsuke.data import Loader, SSDAugmentation, holdout, open_dataset, open_detection, subset
from netsuke.data.voc import CLASSES
from voc_files import Thing, write_voc, xml

BCCD = Path(__file__).resolve().parents[3] / "shared" / "data" / "bccd"
SIZING = Preprocess((0.0,) * 3, (1.0,) * 3, resize=12, fit="stretch")


def one(tmp_path: Path, content: str | list[Thing]) -> str:
    """The SPEC of a set of one image, which is trainval and test."""
    return f"voc:{write_voc(tmp_path, {'trainval': {'a': content}, 'test': {'a': content}})}"


def test_boxes_are_relative_to_the_image_and_pixels_count_from_one(tmp_path: Path) -> None:
    spec = one(tmp_path, [Thing("cat", (1, 1, 20, 10)), Thing("dog", (3, 2, 10, 8)), Thing("cow", (1.5, 2, 3.25, 4))])
    data = open_detection(spec, "train")
    boxes, labels, difficult = data.annotations(0)
    expected = [[0, 0, 1, 1], [2 / 20, 1 / 10, 10 / 20, 8 / 10], [0.5 / 20, 1 / 10, 3.25 / 20, 4 / 10]]
    np.testing.assert_array_equal(boxes, np.array(expected, np.float32))
    assert [data.classes[i] for i in labels] == ["cat", "dog", "cow"]
    assert (boxes.dtype, labels.dtype, difficult.dtype) == (np.float32, np.int64, bool)
    assert (len(data), data.name, data.size(0), data.skipped, data.decodes) == (1, "voc train", (20, 10), 0, True)


def test_vocs_twenty_classes_are_taken_where_they_suffice(tmp_path: Path) -> None:
    data = open_detection(one(tmp_path, [Thing("tvmonitor"), Thing("aeroplane")]))
    assert data.classes == CLASSES == tuple(sorted(CLASSES))
    assert (data.num_classes, data.annotations(0).labels.tolist()) == (20, [19, 0])


def test_else_the_classes_are_those_of_trainval(tmp_path: Path) -> None:
    sets = {"trainval": {"a": [Thing("RBC"), Thing("WBC")], "b": [Thing("cat")]}, "test": {"c": [Thing("WBC")]}}
    for split, labels in (("train", [0, 1]), ("test", [1])):
        data = open_detection(f"voc:{write_voc(tmp_path, sets)}", split)
        assert data.classes == ("RBC", "WBC", "cat")
        assert data.annotations(0).labels.tolist() == labels


def test_classes_can_be_given(tmp_path: Path) -> None:
    data = open_detection(one(tmp_path, [Thing("RBC")]), classes=["WBC", "RBC"])
    assert (data.classes, data.annotations(0).labels.tolist()) == (("WBC", "RBC"), [1])
    for wrong in ([], ["RBC", "RBC"]):
        with pytest.raises(Error, match="different names"):
            open_detection(one(tmp_path, [Thing("RBC")]), classes=wrong)


def test_a_set_with_test_alone_has_its_own_classes(tmp_path: Path) -> None:
    assert open_detection(f"voc:{write_voc(tmp_path, {'test': {'a b': [Thing('RBC')]}})}").classes == ("RBC",)


def test_a_class_that_is_not_in_the_list_is_named_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"a\.xml: RBC is not one of the classes\nWBC, platelet"):
        open_detection(one(tmp_path, [Thing("RBC")]), classes=["WBC", "platelet"])


def test_difficult_is_what_says_so(tmp_path: Path) -> None:
    extras = ("", "<difficult>0</difficult>", "<difficult>1</difficult>", "<difficult></difficult>")
    data = open_detection(one(tmp_path, [Thing("cat", extra=extra) for extra in extras]))
    assert data.annotations(0).difficult.tolist() == [False, False, True, False]


def test_boxes_of_parts_are_not_those_of_the_object(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    data = open_detection(one(tmp_path, [Thing("person", (1, 1, 20, 10), part)]))
    assert data.annotations(0).boxes.tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize(
    "size", ["", "<size><width>0</width><height>0</height></size>", "<size><width>x</width></size>"]
)
def test_the_image_tells_its_size_where_the_xml_does_not(tmp_path: Path, size: str) -> None:
    data = open_detection(one(tmp_path, xml([Thing("cat", (1, 1, 10, 10))], size)))
    assert data.size(0) == (20, 10)
    assert data.annotations(0).boxes.tolist() == [[0, 0, 0.5, 1]]


def test_boxes_are_clipped_and_those_without_an_area_left_out(tmp_path: Path) -> None:
    boxes = [(-5, 3, 30, 99), (7, 3, 7, 5), (9, 3, 4, 5), (2, 6, 5, 6), (30, 1, 40, 5), (11, 6, 20, 10)]
    spec = one(tmp_path, [Thing("cat", box) for box in boxes])
    with pytest.warns(UserWarning, match="4 objects are left out") as caught:
        data = open_detection(spec)
    assert (len(caught), data.skipped) == (1, 4)
    np.testing.assert_array_equal(data.annotations(0).boxes, np.array([[0, 0.2, 1, 1], [0.5, 0.5, 1, 1]], np.float32))


def test_an_image_without_objects_is_kept(tmp_path: Path) -> None:
    spec = f"voc:{write_voc(tmp_path, {'trainval': {'a': [Thing('cat')], 'empty': []}})}"
    data = open_detection(spec, "train", SIZING)
    assert [part.shape for part in data.annotations(1)] == [(0, 4), (0,), (0,)]
    images, annotations = data.read(np.array([1, 0]))
    assert (images.shape, [len(each.labels) for each in annotations]) == ((2, 3, 12, 12), [0, 1])
    for seed in range(20):
        images, annotations = data.read(np.array([1]), SSDAugmentation(16), np.array([seed]))
        assert (images.shape, len(annotations[0].boxes)) == ((1, 3, 16, 16), 0)


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        ("", "not an XML file"),
        ("<annotation><object>", "not an XML file"),
        ('<?xml version="1.0" encoding="no-such"?><annotation/>', "not an XML file"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "document type"),
        ("<annotation><object><name>cat</name></object></annotation>", r"object 1 \(cat\) needs"),
        (xml([Thing("cat"), Thing("dog", (1, 2, "three", 4))]), r"object 2 \(dog\) needs"),
        (xml([Thing("cat", (1, 2, "nan", 4))]), r"object 1 \(cat\) needs"),
        (xml([Thing("cat", (1, 2, "inf", 4))]), r"object 1 \(cat\) needs"),
        (xml([Thing(" ")]), "object 1 .without a name. needs"),
    ],
)
def test_damaged_xml_is_named(tmp_path: Path, content: str, pattern: str) -> None:
    with pytest.raises(Error, match=r"a\.xml") as caught:
        open_detection(one(tmp_path, content))
    with pytest.raises(Error, match=pattern):
        raise caught.value
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_not_expanded(tmp_path: Path, encoding: str) -> None:
    """Nine entities, each ten times the one before: 500 MB of text, were they expanded."""
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "bombs"}">' for i in range(9))
    content = f"<!DOCTYPE annotation [{entities}]><annotation><object><name>&e8;</name></object></annotation>"
    spec = one(tmp_path, [])
    (tmp_path / "Annotations/a.xml").write_bytes(content.encode(encoding))
    started = time.perf_counter()
    with pytest.raises(Error, match="document type"):
        open_detection(spec)
    assert time.perf_counter() - started < 5


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    spec = one(tmp_path, [Thing("cat")])
    for split in ("fit", "val"):
        with pytest.raises(Error, match=r"no image set .*Main.(train|val)\.txt"):
            open_detection(spec, split)
    (tmp_path / "JPEGImages/a.jpg").unlink()
    with pytest.raises(Error, match=r"JPEGImages.a\.jpg does not exist"):
        open_detection(spec)
    Image.new("RGB", (20, 10)).save(tmp_path / "JPEGImages/a.png")
    assert open_detection(spec, sizing=SIZING).read(np.arange(1))[0].shape == (1, 3, 12, 12)
    (tmp_path / "Annotations/a.xml").unlink()
    with pytest.raises(Error, match=r"a\.xml is not an XML file.*\n.*No such file"):
        open_detection(spec)
    (tmp_path / "ImageSets/Main/test.txt").write_text("\n  \n")
    with pytest.raises(Error, match="names no images"):
        open_detection(spec)
    with pytest.raises(Error, match="does not exist"):
        open_detection(f"voc:{tmp_path}/absent")
    with pytest.raises(Error, match="needs a path"):
        open_detection("voc")


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff\xe0 short"])
def test_a_file_that_is_no_image_is_named_when_it_is_read(tmp_path: Path, content: bytes) -> None:
    spec = one(tmp_path, [Thing("cat")])
    (tmp_path / "JPEGImages/a.jpg").write_bytes(content)
    data = open_detection(spec, sizing=SIZING)
    with pytest.raises(Error, match=r"a\.jpg is not an image"):
        next(data.batches(1))
    with pytest.raises(Error, match=r"a\.jpg is not an image"):
        data.read(np.arange(1), SSDAugmentation(16), np.arange(1))


def test_an_image_cut_short_is_named_too(tmp_path: Path) -> None:
    spec = f"voc:{write_voc(tmp_path, {'test': {'a': [Thing('cat')]}}, (200, 100))}"
    path = tmp_path / "JPEGImages/a.jpg"
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(Error, match=r"a\.jpg is not an image"):
        open_detection(spec).read(np.arange(1), SSDAugmentation(16), np.arange(1))


def test_07_and_12_train_together_and_07_tests(tmp_path: Path) -> None:
    for year in ("07", "12"):
        sets = {name: {f"{year}_{name}": [Thing("cat")]} for name in ("train", "val", "test")}
        sets["trainval"] = sets["train"] | sets["val"]
        write_voc(tmp_path / f"VOC20{year}", sets)
    seen = {}
    for split in ("train", "test", "fit", "val"):
        data = open_detection(f"voc:{tmp_path}", split)
        seen[split] = [path.stem for path in data.paths]  # type: ignore[attr-defined]
    assert seen == {
        "train": ["07_train", "07_val", "12_train", "12_val"],
        "test": ["07_test"],
        "fit": ["07_train", "12_train"],
        "val": ["07_val", "12_val"],
    }


def test_images_come_stretched_with_their_boxes(tmp_path: Path) -> None:
    data = open_detection(one(tmp_path, [Thing("cat")]), sizing=SIZING)
    (images, annotations), *rest = data.batches(4)
    with Image.open(tmp_path / "JPEGImages/a.jpg") as image:
        expected = np.asarray(image.convert("RGB").resize((12, 12), Image.Resampling.BILINEAR))
    assert (rest, annotations) == ([], [data.annotations(0)])
    assert np.array_equal(images[0], expected.transpose(2, 0, 1))


def test_a_crop_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Error, match="fit='stretch'"):
        open_detection(one(tmp_path, []), sizing=Preprocess((0.0,) * 3, (1.0,) * 3, resize=12, crop=10))


def test_what_an_augmentation_reads_hangs_on_the_seeds_alone(tmp_path: Path) -> None:
    things = [Thing("cat", (3, 3, 9, 8)), Thing("dog", (11, 1, 20, 10))]
    data = open_detection(f"voc:{write_voc(tmp_path, {'test': {str(i) * (i + 1): things for i in range(5)}})}")
    batches = [np.arange(40) % 5, np.arange(3)]
    read = [list(Loader(data, batches, SSDAugmentation(16), batches, workers)) for workers in (0, 3)]
    assert [len(images) for images, _ in read[0]] == [40, 3]
    for one_thread, three in zip(*read, strict=True):
        assert np.array_equal(one_thread[0], three[0])
        for a, b in zip(one_thread[1], three[1], strict=True):
            assert all(map(np.array_equal, a, b))
    with pytest.raises(Error, match="seed for each"):
        data.read(np.arange(2), SSDAugmentation(16))


def test_parts_of_a_detection_set(tmp_path: Path) -> None:
    kinds = ["RBC"] * 8 + ["WBC"] * 4
    images = {f"{i:02}": [Thing("RBC"), Thing("RBC"), Thing(kind)] for i, kind in enumerate(kinds)} | {"none": []}
    data = open_detection(f"voc:{write_voc(tmp_path, {'trainval': images})}", "train", SIZING)
    part = subset(data, np.array([12, 3]))
    assert (len(part), part.classes, part.size(1)) == (2, ("RBC", "WBC"), (20, 10))
    assert [len(part.annotations(i).labels) for i in (0, 1)] == [0, 3]
    read, annotations = part.read(np.array([1]))
    assert np.array_equal(read, data.read(np.array([3]))[0])
    assert len(annotations[0].labels) == 3
    train, validation = holdout(data, 6, 0)
    assert (len(train), len(validation)) == (7, 6)
    rare = sum(1 in validation.annotations(i).labels for i in range(6))
    assert abs(rare - 4 * 6 / 13) < 1
    with pytest.raises(Error, match="1 to 12"):
        holdout(data, 13, 0)


def test_sets_with_boxes_and_sets_with_labels_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(Error, match="open_detection"):
        open_dataset(f"voc:{tmp_path}")
    with pytest.raises(Error, match="digits is not a detection set.*voc"):
        open_detection("digits")
    with pytest.raises(Error, match="train, test, fit, val"):
        open_detection(f"voc:{tmp_path}", "trainval")
    for root in (tmp_path / "a", tmp_path / "b" / "VOC2007"):
        write_voc(root, {})
    for path in (tmp_path / "a", tmp_path / "b"):
        with pytest.raises(Error, match=f"write voc:{path}"):
            open_dataset(str(path))


@pytest.mark.skipif(not BCCD.is_dir(), reason="the blood cells of ../shared are not here")
def test_the_blood_cells() -> None:
    sizes, objects = {}, {}
    for split in ("train", "test", "fit", "val"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = open_detection(f"voc:{BCCD}", split)
        assert data.classes == ("Platelets", "RBC", "WBC")
        assert len(caught) == bool(data.skipped)
        sizes[split] = len(data)
        objects[split] = sum(len(data.annotations(i).labels) for i in range(len(data))) + data.skipped
    assert sizes == {"train": 292, "test": 72, "fit": 205, "val": 87}
    assert objects["train"] + objects["test"] == 4888
    assert objects["fit"] + objects["val"] == objects["train"]
