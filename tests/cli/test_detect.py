"""`netsuke detect`, and `netsuke eval` of a detector."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import netsuke
from detectors import LABELS, small_detector
from netsuke.cli import main
from netsuke.cli.detect import draw
from netsuke.data import Detections, Preprocess, average_precision, detections, normalise, open_detection
from netsuke.engine import available_isas
from netsuke.models.registry import MODELS, ModelEntry
from voc_files import Thing, write_voc

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
PREPROCESS = Preprocess((0.5,) * 3, (0.25,) * 3, resize=32, fit="stretch")
SIZE = (60, 40)

pytestmark = pytest.mark.skipif(not available_isas(), reason="the engine is not compiled here")
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "small.netsuke"
    return netsuke.export(small_detector(), torch.zeros(2, 3, 32, 32), path, PREPROCESS, "small")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC-like set whose test images are noise with a few boxes."""
    things = {f"{i}": [Thing(LABELS[i % 2], (5 + i, 4, 40, 30))] * (i > 0) for i in range(6)}
    root = write_voc(tmp_path_factory.mktemp("set"), {"trainval": things, "test": things}, SIZE)
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{i}.jpg")
    return root


def test_pictures_and_json(detector: Path, pictures: Path, tmp_path: Path, run_json: RunJson) -> None:
    image = pictures / "JPEGImages" / "3.jpg"
    result = run_json("detect", detector, image, "--out", tmp_path / "out", "--score", 0.3)
    pixels = np.asarray(Image.open(image).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    found = detections(np.asarray(netsuke.load(detector)(pixels[None].copy()))[0], *SIZE)
    chosen = found.scores >= 0.3
    assert 0 < chosen.sum() < len(chosen)
    own = result["images"][str(image)]
    assert (own["width"], own["height"], own["picture"]) == (*SIZE, "3.png")
    assert [entry["label"] for entry in own["objects"]] == [LABELS[i] for i in found.labels[chosen]]
    np.testing.assert_allclose([entry["box"] for entry in own["objects"]], found.boxes[chosen], atol=0.01)
    np.testing.assert_allclose([entry["score"] for entry in own["objects"]], found.scores[chosen], atol=1e-4)
    assert json.loads((tmp_path / "out" / "detections.json").read_text())["images"] == result["images"]
    drawn = np.asarray(Image.open(tmp_path / "out" / "3.png").convert("RGB"))
    assert drawn.shape == (*SIZE[::-1], 3)


def test_a_box_is_drawn_with_its_label() -> None:
    found = Detections(np.array([[20, 30, 80, 60]], np.float32), np.array([1]), np.array([0.9], np.float32))
    grey = Image.new("RGB", (100, 80), (90, 90, 90))
    drawn = np.asarray(draw(grey, found, LABELS))
    blue = (0x00, 0x72, 0xB2)
    for x, y in [(20, 45), (80, 45), (50, 30), (50, 60)]:  # the four sides
        assert tuple(drawn[y, x]) == blue
    assert tuple(drawn[45, 50]) == (90, 90, 90)
    assert (drawn[15:29, 20:60] == blue).all(axis=2).any()  # behind the words
    assert (drawn[15:29, 20:60] > 200).all(axis=2).any()
    assert (np.asarray(grey) == 90).all()


def test_a_folder_is_all_its_images(detector: Path, pictures: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["detect", str(detector), str(pictures / "JPEGImages"), "--out", str(tmp_path)]) == 0
    assert "wrote 6 pictures" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.glob("*.png")) == [f"{i}.png" for i in range(6)]


def test_bad_input(detector: Path, pictures: Path, tmp_path: Path, linear_digits: Path, fails: Fails) -> None:
    image, out = pictures / "JPEGImages" / "1.jpg", tmp_path / "out"
    text = tmp_path / "text.jpg"
    text.write_text("not an image")
    assert "text.jpg is not an image" in fails("detect", detector, text, "--out", out)
    assert "there is no image" in fails("detect", detector, tmp_path / "none.jpg", "--out", out)
    (tmp_path / "empty").mkdir()
    assert "holds no images" in fails("detect", detector, tmp_path / "empty", "--out", out)
    assert "1.png" in fails("detect", detector, image, pictures / "JPEGImages", "--out", out)
    (tmp_path / "here").mkdir()
    own = shutil.copy(image, tmp_path / "here" / "a.png")
    assert "written over" in fails("detect", detector, own, "--out", tmp_path / "here")
    assert "is not a detector" in fails("detect", linear_digits, image, "--out", out)
    assert "0 to 1" in fails("detect", detector, image, "--out", out, "--score", 2)
    assert "detection set" in fails("eval", detector, "--data", "digits")
    assert "holds boxes" in fails("eval", linear_digits, "--data", f"voc:{pictures}")
    assert "top-1" in fails("compare", detector, "--data", f"voc:{pictures}", "--out", tmp_path / "c.svg")


def test_eval_is_the_mean_average_precision(detector: Path, pictures: Path, run_json: RunJson) -> None:
    result = run_json("eval", detector, "--data", f"voc:{pictures}", "--batch", 4)
    data = open_detection(f"voc:{pictures}", "test", PREPROCESS, LABELS)
    images, wanted = data.read(np.arange(6))
    with torch.no_grad():
        rows = small_detector()(torch.from_numpy(normalise(images, PREPROCESS))).numpy()
    found = [detections(image) for image in rows]
    for key, kind in (("map", "11-point"), ("map_all_points", "all-point")):
        assert result[key] == pytest.approx(100 * average_precision(found, wanted, LABELS, kind).map, abs=1e-6)
    assert result["n"] == 6
    assert set(result["ap"]) == set(LABELS)
    assert result["map"] > 0


def test_eval_of_a_checkpoint(
    detector: Path, pictures: Path, tmp_path: Path, run_json: RunJson, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizing = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "resize": 32, "fit": "stretch"}
    entry = ModelEntry(
        "small", "none", (3, 32, 32), 2, sizing, lambda num_classes: small_detector(), "small", "detection"
    )
    monkeypatch.setitem(MODELS, "small", entry)
    torch.save(small_detector().state_dict(), tmp_path / "small.pt")
    data = f"voc:{pictures}"
    result = run_json("eval", tmp_path / "small.pt", "--model", "small", "--data", data)
    assert result["map"] == pytest.approx(run_json("eval", detector, "--data", data)["map"], abs=1e-6)


def test_a_class_that_the_file_does_not_know(detector: Path, tmp_path: Path, fails: Fails) -> None:
    root = write_voc(tmp_path, {"test": {"1": [Thing("cow")]}})
    message = fails("eval", detector, "--data", f"voc:{root}")
    assert "cow" in message
    assert "cat, dog" in message
