"""The committed networks score what zoo/README.md says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import cifar
import mnist
import netsuke
from netsuke import artifact
from netsuke.train import read_recipe

ZOO = Path(__file__).resolve().parents[1] / "zoo"
FILES = sorted(ZOO.glob("*.netsuke"))


def said(file: Path) -> tuple[int, float]:
    """Bytes and top-1 in per cent, from the table."""
    row = re.search(rf"\| `{re.escape(file.name)}` \| ([\d,]+) \| ([\d.]+) % \|", (ZOO / "README.md").read_text())
    assert row is not None, f"zoo/README.md has no row for {file.name}"
    return int(row[1].replace(",", "")), float(row[2])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_network_scores_what_the_page_says(file: Path) -> None:
    size, top1 = said(file)
    assert file.stat().st_size == size
    assert read_recipe(str(file.with_suffix(".toml"))).model.name == artifact.read(file).model
    assert file.with_suffix(".csv").exists()
    images, labels = mnist.images_and_labels() if "mnist" in file.stem else cifar.images_and_labels()
    right = netsuke.load(file)(images).argmax(1) == labels
    assert f"{100 * float(right.mean()):.10g}" == f"{top1:.10g}"  # of 1,000 images, or of 10,000


def test_there_are_networks() -> None:
    assert FILES
