"""The sections of the report page."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from netsuke.cli.profile import MIB
from netsuke.cli.studied import Studied, Survey, opened

if TYPE_CHECKING:
    from netsuke.report import Section

DATASETS = {"imagenet": "ImageNet", "cifar10": "CIFAR-10"}  # those of which published networks are known
SHOWN_LAYERS = 3  # binary layers whose maps are shown when nobody names any


def runs(studied: Sequence[Studied], data: str | None) -> Section:
    from netsuke.report import Section

    head = ["run", "network", "epochs", "loss", "training", "held out", "test", "parameters", "OPs", "MiB", "energy"]
    rows = [head]
    for one in studied:
        facts = one.facts()
        figures = [
            _number(facts["loss"], ".3f"),
            _number(facts["train_accuracy"], ".2f", " %"),
            _number(facts["held_out"], ".2f", " %"),
            _number(facts["test"] and facts["test"]["top1"], ".2f", " %"),
            _number(facts["parameters"], ","),
            _number(facts["ops"] and facts["ops"] / 1e6, ".2f", " M"),
            _number(facts["size_bytes"] and facts["size_bytes"] / MIB, "#.3g"),
            _number(facts["energy_millijoule"], "#.3g", " mJ"),
        ]
        rows.append([facts["name"], facts["model"], str(facts["epoch"]), *figures])
    count = next((one.test["n"] for one in studied if one.test is not None), 0)
    text = [
        "Loss and accuracy are the newest of the log: on training images as augmented, on held-out ones where the "
        "recipe holds some out. A detector's are of the default boxes that have an object, and mean average precision. "
        + (f"Test: top-1 on {count:,} test images of {_kind(data)}." if data else "No test images were measured."),
        "OPs = BOPs / 64 + FLOPs of one image. Size: a bit for a binary parameter, four bytes for another one. Energy: "
        "an estimate for one image at a time (Horowitz 2014, 45 nm); `netsuke profile` splits it up.",
    ]
    return Section("Runs", text, rows)


def designs(studied: Sequence[Studied]) -> Section | None:
    """Mean and spread of runs that differ in their seed alone; None where no two do."""
    from netsuke.report import Section
    from netsuke.report.runs import designs

    groups = designs([one.run for one in studied])
    if all(len(group) == 1 for group in groups.values()):
        return None
    facts = {one.run.name: one.facts() for one in studied}
    rows = [["design", "seeds", "training", "held out", "test"]]
    for name, group in groups.items():
        own = [facts[run.name] for run in group]
        columns = [
            [one["train_accuracy"] for one in own],
            [one["held_out"] for one in own],
            [one["test"] and one["test"]["top1"] for one in own],
        ]
        rows.append([name, str(len(group)), *(_spread(column) for column in columns)])
    text = ["Runs whose recipes differ in the seed alone: accuracy in per cent, mean and sample deviation."]
    return Section("Designs", text, rows)


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    deviation = f" ± {statistics.stdev(known):.2f}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.2f}{deviation}" + (f" ({len(known)})" if len(known) < len(values) else "")


def curves(studied: Sequence[Studied]) -> Section:
    from netsuke.report import Section
    from netsuke.report.pictures import curves
    from netsuke.report.style import svg

    return Section("Training", (), (), [("training curves", svg(curves([one.run for one in studied])))])


def operations(studied: Sequence[Studied], data: str | None) -> Section:
    """Accuracy against operations, ours beside the published networks of the same data set."""
    from netsuke.report import Point, Section, published
    from netsuke.report.pictures import accuracy_against_ops
    from netsuke.report.style import svg

    ours: dict[str, list[Point]] = {}
    for one in studied:
        if one.test is not None and one.cost is not None:
            kind = "imagenet" if one.classes == 1000 else _kind(data)
            ours.setdefault(kind, []).append(Point(one.run.name, one.test["top1"], one.cost.ops()))
    drawn = []
    for dataset, points in published().items():
        own = ours.get(dataset, [])
        title = f"{DATASETS[dataset]}: published networks" + (", ours in blue" if own else "")
        drawn.append((f"accuracy against OPs, {dataset}", svg(accuracy_against_ops(points, own, title))))
    text = [
        "Published figures are as papers and code print them, on all test images (report/published.toml says where "
        "each is from); ours are of the test images of --data as they are."
    ]
    return Section("Accuracy against operations", text, (), drawn)


def landscapes(studied: Sequence[Studied], wanted: Survey) -> Section:
    from netsuke.analyze.landscape import summary
    from netsuke.report import Section
    from netsuke.report.pictures import contours
    from netsuke.report.style import svg

    seen = {one.run.name: one.landscape for one in studied if one.landscape is not None}
    if not seen:
        return Section("Loss landscapes", ["No run has weights yet."])
    rows = [["run", "loss", "accuracy", "rise", "bumps", "bend"]]
    for name, landscape in seen.items():
        figures = summary(landscape)
        shown = [f"{figures[key]:.3f}" for key in ("rise", "bumps", "bend")]
        rows.append([name, f"{figures['loss']:.3f}", f"{figures['accuracy']:.2f} %", *shown])
    text = [
        f"Cross entropy on {wanted.images:,} training images over a plane through the trained (latent) weights: "
        f"{wanted.points} x {wanted.points} points, {-wanted.radius:g} to {wanted.radius:g} along two Gaussian "
        "directions with the norms of the filters (Li et al. 2018); biases, batch norm and all without filters stay. "
        "Batch norm uses the statistics of "
        + ("training." if wanted.statistics == "running" else "each batch of 250 images."),
        "The figures are ours. rise: how much higher the surface is on average than in its middle, nats. bumps: how "
        "much the rows and columns of the grid go up and down beyond one fall and one rise, as a share of that; 0 is a "
        "single valley. bend: root mean square of second differences over that of first ones; 0 a plane, 1.73 noise.",
    ]
    return Section("Loss landscapes", text, rows, [("loss landscapes", svg(contours(seen)))])


def maps(one: Studied, data: str, layers: Sequence[str]) -> Section:
    """What the named layers make of the first test image; without names, some binary layers and their inputs."""
    import torch

    from netsuke.analyze import feature_maps
    from netsuke.analyze.cost import is_binary_layer
    from netsuke.data import normalise
    from netsuke.report import Section
    from netsuke.report.pictures import maps
    from netsuke.report.style import svg

    title = f"Feature maps of {one.run.name}"
    if one.module is None:
        return Section(title, ["It has no weights yet."])
    if not layers:
        binary = [name for name, m in one.module.named_modules() if is_binary_layer(m)]
        chosen = [binary[i] for i in np.linspace(0, len(binary) - 1, SHOWN_LAYERS).astype(int)] if binary else []
        layers = [name for layer in dict.fromkeys(chosen) for name in (f"{layer}.binary_a", layer)]
    if not layers:
        return Section(title, ["It has no binary layer: name others with --layer."])
    image, _ = opened(one, data, "test").read(np.arange(1))
    found = feature_maps(one.module, torch.from_numpy(normalise(image, one.preprocess)), layers)
    figure = maps(image[0], {name: made.numpy() for name, made in found.items()})
    return Section(title, (), (), [(f"feature maps of {one.run.name}", svg(figure))])


def _kind(data: str | None) -> str:
    return (data or "").partition(":")[0]


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"
