"""The committed networks score what zoo/README.md says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import cifar
import mnist
import netsuke
from netsuke import artifact
from netsuke.cli.detector import Detector, score
from netsuke.cli.evaluate import from_file
from netsuke.data import open_detection
from netsuke.train import read_recipe

ZOO = Path(__file__).resolve().parents[1] / "zoo"
FILES = sorted(ZOO.glob("*.netsuke"))
DETECTORS = [file for file in FILES if "bccd" in file.stem]
CLASSIFIERS = [file for file in FILES if file not in DETECTORS]
BCCD = ZOO.parents[1] / "shared" / "data" / "bccd"


def said(file: Path) -> tuple[int, float]:
    """Bytes, and top-1 or mean average precision in per cent, from the tables."""
    row = re.search(rf"\| `{re.escape(file.name)}` \| ([\d,]+) \| ([\d.]+) % \|", (ZOO / "README.md").read_text())
    assert row is not None, f"zoo/README.md has no row for {file.name}"
    return int(row[1].replace(",", "")), float(row[2])


def test_files_are_as_large_as_the_page_says_and_stand_beside_their_recipes() -> None:
    for file in FILES:
        assert file.stat().st_size == said(file)[0]
        assert read_recipe(str(file.with_suffix(".toml"))).model.name == artifact.read(file).model
        assert file.with_suffix(".csv").exists()


@pytest.mark.parametrize("file", DETECTORS, ids=lambda file: file.stem)
def test_a_detector_scores_what_the_page_says(file: Path) -> None:
    if not BCCD.is_dir():
        pytest.skip("../shared with BCCD is not here")
    network = from_file(file)
    assert isinstance(network, Detector)
    data = open_detection(f"voc:{BCCD}", "test", network.sizing, network.labels)
    assert f"{score(network, data)['map']:.2f}" == f"{said(file)[1]:.2f}"


@pytest.mark.parametrize("file", CLASSIFIERS, ids=lambda file: file.stem)
def test_a_classifier_scores_what_the_page_says(file: Path) -> None:
    _, top1 = said(file)
    images, labels = mnist.images_and_labels() if "mnist" in file.stem else cifar.images_and_labels()
    right = netsuke.load(file)(images).argmax(1) == labels
    assert f"{100 * float(right.mean()):.10g}" == f"{top1:.10g}"  # of 1,000 images, or of 10,000


def test_there_are_networks() -> None:
    assert CLASSIFIERS
    assert DETECTORS
