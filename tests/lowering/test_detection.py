"""Detectors: the file's rows against the module's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.detection_agreement import agreement
from torch import nn

import netsuke
from detectors import LABELS, small_detector
from lowering_checks import RUNNERS, check_nodes, runner
from netsuke import Preprocess, artifact
from netsuke.artifact.graph import Detect, Normalize
from netsuke.lowering import lower
from netsuke.lowering.trace import trace64

torch.set_num_threads(1)


def images(count: int, size: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("values", [{}, {"candidates": 5, "keep": 7}, {"score_threshold": 0.5, "iou_threshold": 0.2}])
def test_a_file_finds_what_the_module_finds(values: dict[str, Any]) -> None:
    model, x = small_detector(**values), images(6)
    lowered = lower(model, x[:1])
    true = trace64(lowered, x.numpy())[lowered.graph.outputs[0].value]
    assert true.shape == (6, model.detector.keep, 6, 1)
    for kind in RUNNERS:
        check_nodes(lowered, x[:2].numpy(), kind)
        rows = np.asarray(runner(kind, lowered.graph)(x.numpy()))
        assert rows.shape == (6, model.detector.keep, 6)
        total, agreed = np.sum([agreement(a, b) for a, b in zip(rows, true[..., 0], strict=True)], axis=0)
        assert total > 10
        assert agreed >= 0.99 * total


def test_the_graph_ends_in_one_node(tmp_path: Path) -> None:
    model = small_detector()
    preprocess = Preprocess((0.5,) * 3, (0.25,) * 3, resize=32, fit="stretch")
    path = netsuke.export(model, images(2), tmp_path / "d.netsuke", preprocess, "small")
    graph = artifact.read(path)
    last = graph.nodes[-1]
    assert isinstance(last, Detect)
    assert last.labels == list(LABELS)
    assert sum(isinstance(node, Normalize) for node in graph.nodes) == 1
    assert graph.outputs[0].rank == 3
    assert graph.transform is not None
    assert (graph.transform.resize, graph.transform.fit) == (32, "stretch")


def test_int8_heads() -> None:
    model, x = small_detector(), images(16)
    lowered = lower(model, x[:1], float_layers={"locations.*": "int8", "confidences.*": "int8"}, calibration=x)
    kinds = [type(node).__name__ for node in lowered.graph.nodes]
    assert kinds.count("Int8Conv2d") == 4
    rows = np.asarray(runner("engine", lowered.graph)(x.numpy()))
    with torch.no_grad():
        expected = model(x).numpy()
    for made, true in zip(rows, expected, strict=True):  # the best of each image
        same = (true[:, 5] == made[0, 5]) & (np.abs(true[:, :4] - made[0, :4]).max(1) < 0.05)
        assert np.abs(true[same, 4] - made[0, 4]).min() < 0.1


def test_labels_are_one_line() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.logits = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 2, 1)
            self.detector = netsuke.nn.Detector(["two\nlines"], [[(0.5, 0.5)]], [1 / 32])

        def forward(self, x: torch.Tensor) -> Any:
            return self.detector([self.head(x), self.logits(x)])

    with pytest.raises(netsuke.Error, match="more than one line"):
        lower(Named(), images(1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssd300_vgg16", "adabin_ssd300_vgg16"])
def test_full_width(name: str) -> None:
    x = images(2, 300)
    torch.manual_seed(0)
    model = netsuke.create_model(name)
    with torch.no_grad():
        model.train()(x)  # statistics of batch norm
    check_nodes(lower(model, x[:1]), x[:1].numpy(), "engine")
