"""`netsuke.ternarize`: which layers, and the way to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netsuke
from netsuke import Error, artifact
from netsuke.artifact.graph import Conv2d, Int8Conv2d
from netsuke.engine import available_isas


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 32, 1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def settled(model: nn.Module) -> nn.Module:
    """With batch norm that has seen something, of both signs."""
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, nn.BatchNorm2d):
                nn.init.normal_(m.weight)
                nn.init.normal_(m.bias)
        model.train()(torch.randn(32, 3, 8, 8))
    return model.eval()


def values(model: nn.Module) -> dict[str, int]:
    layers = {n: m for n, m in model.named_modules() if type(m).__name__.endswith(("Conv2d", "Linear"))}
    return {name: len(layer.weight.unique()) for name, layer in layers.items() if hasattr(layer, "weight")}


def test_the_first_and_the_last_layer_stay_float() -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made = values(netsuke.ternarize(model))
    assert {name: count <= 3 for name, count in made.items()} == {"0": False, "3": True, "6": True, "11": False}
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    released = values(netsuke.ternarize(model, keep_last=False))
    assert released["11"] <= 3 < released["0"]
    chosen = values(netsuke.ternarize(model, sparsity={"3": 0.4}))
    assert chosen["3"] == 3 < chosen["6"]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"threshold": 0.05, "sparsity": 0.3}, "one of threshold= and sparsity="),
        ({"threshold": 1.5}, "3: the threshold is 1.5"),
        ({"sparsity": {"9*": 0.3}}, "no layer is named '9\\*'"),
        ({"threshold": {"0": 0.05}}, "nothing in Sequential is ternarised"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(Error, match=match):
        netsuke.ternarize(network(), **arguments)


def test_it_trains_in_any_loop() -> None:
    student = netsuke.ternarize(network())
    images = torch.randn(64, 3, 8, 8)
    labels = images.mean((2, 3)).argmax(1)
    optimizer = torch.optim.SGD(student.parameters(), 0.05, momentum=0.9)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(student(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert values(student)["3"] == 3


def test_a_file_holds_less_than_two_bits_a_weight(tmp_path: Path) -> None:
    student = netsuke.ternarize(settled(network()))
    images = torch.randn(4, 3, 8, 8)
    file = netsuke.export(student, images, tmp_path / "t.netsuke")
    graph = artifact.read(file)
    ternary = {node.name: node for node in graph.nodes if isinstance(node, Conv2d) and len(np.unique(node.weight)) == 3}
    assert set(ternary) == {"3", "6"}
    plain, numbers = artifact.parts(file.read_bytes())
    weights = sum(node.weight.size for node in ternary.values())
    assert plain["coded_weights"] < weights * 2 / 8
    with torch.no_grad():
        expected = student(images).numpy()
    for isa in available_isas():
        np.testing.assert_allclose(netsuke.load(file, isa=isa)(images.numpy()), expected, rtol=0, atol=1e-5)


def test_with_8_bit_activations_three_codes_a_layer(tmp_path: Path) -> None:
    """Batch norm of both signs folds into the scales of the outputs, the codes stay."""
    student = netsuke.ternarize(settled(network()))
    images = torch.randn(64, 3, 8, 8)
    layers = {"*": "int8", "0": "float32", "11": "float32"}
    file = netsuke.export(student, images, tmp_path / "t.netsuke", float_layers=layers, calibration=images)
    coded = [node for node in artifact.read(file).nodes if isinstance(node, Int8Conv2d)]
    assert [len(np.unique(node.weight)) for node in coded] == [3, 3]
    assert all(np.abs(node.weight).max() == 64 for node in coded)
    assert any((node.weight_scale < 0).any() for node in coded)
    plain, _ = artifact.parts(file.read_bytes())
    assert plain["coded_weights"] < sum(node.weight.size for node in coded) * 2 / 8
    with torch.no_grad():
        expected = student(images).numpy()
    made = [netsuke.load(file, isa=isa)(images.numpy()) for isa in available_isas()]
    assert all(np.array_equal(made[0], other) for other in made)
    assert np.abs(made[0] - expected).max() < 0.1 * np.abs(expected).max()
