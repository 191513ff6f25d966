"""The report's parts: runs as they are on the disk, published networks, pictures, the page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import pyplot

import netsuke
from netsuke import Error
from netsuke.analyze import Landscape, cost
from netsuke.report import Point, Section, page, published, read_runs
from netsuke.report.pictures import accuracy_against_ops, contours, curves, maps
from netsuke.report.runs import designs
from netsuke.report.style import svg

LOG = """step,epoch,loss,learning_rate,train_accuracy,validation_accuracy,images_per_second,seconds,resumed
4,1,2.25,0.1,20.0,,100,1,
4,2,,,,,,,1
8,2,1.5,0.1,40.0,35.5,100,2,
12,3,1.2"""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("b/second", "a"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "recipe.toml").write_text('epochs = 3\n[model]\nname = "resnet20"\n')
        (folder / "log.csv").write_text(LOG)
    (tmp_path / "a" / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def test_a_detectors_log_has_its_own_score(runs: Path) -> None:
    (runs / "a" / "log.csv").write_text(LOG.replace("validation_accuracy", "validation_map"))
    (run,) = read_runs(runs / "a")
    assert run.held_out == "validation_map"
    assert run.series(run.held_out) == ([2], [35.5])


def test_runs_are_read_as_training_left_them(runs: Path) -> None:
    first, second = read_runs(runs)
    assert (first.name, second.name, first.model) == ("a", "b/second", "resnet20")
    assert first.series("loss") == ([1, 2], [2.25, 1.5])  # neither the resumed row nor the one that was cut off
    assert first.series("validation_accuracy") == ([2], [35.5])
    assert (first.last("train_accuracy"), first.last("resumed")) == (40.0, None)
    assert first.held_out == second.held_out == "validation_accuracy"
    assert first.weights == runs / "a" / "model.safetensors"
    assert second.weights is None
    assert read_runs(runs / "a")[0].name == "resnet20"
    (runs / "a" / "recipe.toml").write_text("[model")
    with pytest.raises(Error, match="is no recipe"):
        read_runs(runs)
    (runs / "empty").mkdir()
    with pytest.raises(Error, match="holds no run"):
        read_runs(runs / "empty")
    with pytest.raises(Error, match="there is no folder"):
        read_runs(runs / "nowhere")


def test_runs_that_differ_in_the_seed_alone_are_one_design(runs: Path) -> None:
    for name, seed, rate in (("full-0", 0, 0.1), ("full-1", 1, 0.1), ("plain-0", 0, 0.2), ("plain-1", 1, 0.2)):
        folder = runs / "study" / name
        folder.mkdir(parents=True)
        text = f'seed = {seed}\n[model]\nname = "resnet20"\n[optimizer]\nlearning_rate = {rate}\n'
        (folder / "recipe.toml").write_text(text)
        (folder / "log.csv").write_text(LOG)
    found = designs(read_runs(runs / "study"))
    assert {name: [run.name for run in group] for name, group in found.items()} == {
        "full": ["full-0", "full-1"],
        "plain": ["plain-0", "plain-1"],
    }


def test_published_operations_that_we_derived_are_what_the_networks_have() -> None:
    known = {point.name: point for points in published().values() for point in points}
    assert all(point.source.endswith((" / D", " / S")) for point in known.values())
    for name, model, side in (
        ("BNext-T", "bnext_tiny", 224),
        ("BNext-18", "bnext18", 224),
        ("AdaBin R20", "adabin_resnet20", 32),
        ("AdaBin R18", "adabin_resnet18", 32),
        ("AdaBin VGG-small", "adabin_vgg_small", 32),
    ):
        with torch.device("meta"):
            found = cost(netsuke.create_model(model), torch.empty(1, 3, side, side))
        ops = found.bops / 64 + sum(layer.flops for layer in found.layers if layer.role != "binary")
        assert known[name].ops == pytest.approx(ops, rel=0.0005), name


def surface(height: float) -> Landscape:
    at = np.linspace(-1, 1, 5)
    return Landscape(at, height * (0.1 + at**2 + at[:, None] ** 2), np.full((5, 5), 50.0))


def test_landscapes_share_levels_and_colours() -> None:
    figure = contours({"low": surface(0.5), "high": surface(20.0)})
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["low", "high"]
    scales = [(tuple(axes.collections[0].levels), axes.collections[0].norm.vmin) for axes in panels]
    assert scales[0] == scales[1]
    assert scales[0][0][0] == pytest.approx(0.05)
    assert scales[0][0][-1] == pytest.approx(42)
    assert "rise" in panels[0].get_xlabel()
    assert svg(figure) == svg(contours({"low": surface(0.5), "high": surface(20.0)}))
    assert not pyplot.get_fignums()


def test_a_flat_landscape_and_one_that_touches_zero_can_be_drawn() -> None:
    flat = Landscape(np.linspace(-1, 1, 3), np.full((3, 3), 2.0), np.zeros((3, 3)))
    zero = Landscape(np.linspace(-1, 1, 3), np.array([[1.0, 2, 1], [2, 0, 2], [1, 2, 1]]), np.zeros((3, 3)))
    assert svg(contours({"flat": flat})).startswith(b"<?xml")
    assert svg(contours({"flat": flat, "zero": zero})).startswith(b"<?xml")


def test_curves_and_points_and_maps_show_what_they_are_given(runs: Path) -> None:
    losses, accuracies = (axes for axes in curves(read_runs(runs)).axes)
    assert [list(line.get_ydata()) for line in losses.lines] == [[2.25, 1.5]] * 2
    assert [list(line.get_ydata()) for line in accuracies.lines] == [[20.0, 40.0], [35.5]] * 2
    figure = accuracy_against_ops([Point("theirs", 70.0, 2e8, "C / S")], [Point("ours", 71.0, 1e8)])
    (axes,) = figure.axes
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines] == [(0.2, 70.0), (0.1, 71.0)]
    assert {text.get_text() for text in axes.texts} == {"theirs", "ours"}
    layer = np.arange(3 * 4 * 4.0).reshape(3, 4, 4)
    image = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    shown = [axes.images[0].get_array() for axes in maps(image, {"layer": layer}, channels=2).axes if axes.images]
    assert [np.array_equal(a, b) for a, b in zip(shown, [image.transpose(1, 2, 0), *layer[:2]], strict=True)] == [
        True
    ] * 3
    pyplot.close("all")


def test_names_of_crowded_points_hide_no_point_and_no_name() -> None:
    points = published()["imagenet"]
    figure = accuracy_against_ops(points)
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(points)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    pyplot.close(figure)


class Sources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_one_file_and_escapes_what_it_is_given() -> None:
    made = page("<runs>", [Section("a & b", ["1 < 2"], [["head"], ["<b>"]], [("a picture", b"<svg/>")])], "note")
    parser = Sources()
    parser.feed(made)
    assert not parser.open
    assert parser.found == ["data:image/svg+xml;base64,PHN2Zy8+"]
    for text in ("<h1>&lt;runs&gt;</h1>", "a &amp; b", "1 &lt; 2", "<th>head</th>", "<td>&lt;b&gt;</td>"):
        assert text in made
