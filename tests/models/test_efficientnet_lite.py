"""EfficientNet-Lite0: its published names, its padding, and the way to a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import netsuke
from netsuke.models import create_model, load_weights
from netsuke.models.efficientnet_lite import EfficientNetLite, SameConv2d
from netsuke.models.weights import published_weights


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_it_has_the_published_parameters() -> None:
    model = create_model("efficientnet_lite0")
    assert sum(p.numel() for p in model.parameters()) == 4_652_008  # 4.7 million
    names = published_weights(model)
    assert {"_conv_stem.weight", "_bn0.running_var", "_blocks.0._depthwise_conv.weight", "_fc.bias"} <= set(names)
    assert len(names) == 296
    assert names["_blocks.1._expand_conv.weight"].shape == (96, 16, 1, 1)


def test_published_names_load_as_ours(tmp_path: Path) -> None:
    model = create_model("efficientnet_lite0", seed=1)
    tensors = {name: tensor.contiguous() for name, tensor in published_weights(model).items()}
    save_file(tensors, tmp_path / "published.safetensors")
    loaded = load_weights(create_model("efficientnet_lite0"), tmp_path / "published.safetensors")
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("size", "kernel", "stride", "pads"), [
    (8, 3, 1, (1, 1)), (8, 3, 2, (0, 1)), (7, 3, 2, (1, 1)), (8, 5, 2, (1, 2)), (7, 5, 2, (2, 2)), (8, 5, 1, (2, 2)),
])  # fmt: skip
def test_padding_is_tensorflows(size: int, kernel: int, stride: int, pads: tuple[int, int]) -> None:
    """By hand: ceil(size / stride) results, the odd pixel behind."""
    layer = SameConv2d(1, 1, kernel, stride)
    x = torch.randn(1, 1, size, size)
    before, after = pads
    padded = torch.nn.functional.pad(x, (before, after, before, after))
    expected = torch.nn.functional.conv2d(padded, layer.weight, stride=stride)
    assert layer(x).shape == (1, 1, -(-size // stride), -(-size // stride))
    torch.testing.assert_close(layer(x), expected)


def test_it_exports(tmp_path: Path) -> None:
    model = EfficientNetLite(num_classes=7)
    with torch.no_grad():
        model(torch.randn(4, 3, 64, 64))  # batch norm sees something
    model.eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(images).numpy()
    file = netsuke.export(model, images, tmp_path / "lite.netsuke")
    found = netsuke.load(file)(images.numpy())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
