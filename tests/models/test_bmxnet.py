"""BMXNet's ResNet-18 equals its published graph, takes the published bits as they are, and trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import netsuke
from binary_networks import costs, images, moved, train_two_steps
from bmxnet_plain import run_symbol
from mxnet_files import written
from netsuke.artifact.graph import BinaryConv2d as BinaryNode
from netsuke.lowering import lower
from netsuke.models import load_weights, published_weights
from netsuke.models.bmxnet_resnet import PopcountConv
from netsuke.models.mxnet import read_ndarrays

NAME = "bmxnet_resnet18_imagenet"
FOLDER = Path(__file__).resolve().parents[3] / "shared/models" / NAME
PARAMS = FOLDER / "binarized_imagenet-resnet18-64bit-0040.params"
SYMBOL = FOLDER / "binarized_imagenet-resnet18-64bit-symbol.json"
published = pytest.mark.skipif(not PARAMS.is_file(), reason=f"needs ../shared/models/{NAME}")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 2, 0)])
def test_a_convolution_counts_the_taps_that_agree(kernel: int, stride: int, padding: int) -> None:
    layer = PopcountConv(5, 4, kernel, stride)
    x = torch.randn(2, 5, 6, 7)
    x[0, :, 2, 3] = 0  # the sign of 0 is +1
    around = F.pad(x, (padding,) * 4)
    windows = F.unfold((around >= 0).float(), kernel, stride=stride)  # (2, taps, pixels)
    bits = (layer.binary.weight.flatten(1) >= 0).float()
    counts = (windows[:, None] == bits[None, :, :, None]).sum(2)
    assert torch.equal(layer(x).flatten(2), counts.float())


def test_arrays_go_out_and_come_back(tmp_path: Path) -> None:
    x = images(NAME, 3, 32)
    source = moved(NAME, x)
    nn.init.ones_(source.bn_data.weight)
    arrays = published_weights(source)
    assert "arg:stage1_unit1_conv1_weight" in arrays
    assert "arg:stage1_unit1_sc_weight" in arrays
    assert "aux:stage4_unit2_bn2_moving_var" in arrays
    assert "arg:bn_data_gamma" in arrays
    assert not any("stage1_unit2_sc" in name or "tracked" in name for name in arrays)
    path = tmp_path / "w.params"
    path.write_bytes(written({name: tensor.numpy() for name, tensor in arrays.items()}))
    again = load_weights(netsuke.create_model(NAME, num_classes=10, width=0.25), path).eval()
    with torch.no_grad():
        assert torch.equal(again(x), source(x))
    latent = again.stage1.unit1.conv1.binary.weight
    assert torch.equal(latent, torch.where(source.stage1.unit1.conv1.binary.weight >= 0, 1.0, -1.0))


def test_bits_lie_lowest_first_in_the_order_of_outputs(tmp_path: Path) -> None:
    model = netsuke.create_model(NAME, num_classes=10, width=0.125)  # 8 channels: 576 weights, and 64 of the shortcut
    arrays = {name: tensor.numpy() for name, tensor in published_weights(model).items()}
    for name, words in (("conv1", [1 << 3, *[0] * 7, 1 << 63]), ("sc", [1 << 10])):
        arrays[f"arg:stage1_unit1_{name}_weight"] = np.array(words, np.uint64).view(np.float64)
    path = tmp_path / "w.params"
    path.write_bytes(written(arrays))
    unit = load_weights(model, path).stage1.unit1
    assert (unit.conv1.binary.weight > 0).nonzero().tolist() == [[0, 0, 1, 0], [7, 7, 2, 2]]
    assert (unit.sc.binary.weight > 0).nonzero().tolist() == [[1, 2, 0, 0]]


@pytest.mark.parametrize(
    ("words", "message"), [(np.zeros(8), "8 words of bits: it wants 9"), (np.zeros(10), "10 words of bits: it wants 9")]
)
def test_other_numbers_of_bits_are_refused(words: np.ndarray, message: str, tmp_path: Path) -> None:
    model = netsuke.create_model(NAME, num_classes=10, width=0.125)
    arrays = {name: tensor.numpy() for name, tensor in published_weights(model).items()}
    arrays["arg:stage1_unit2_conv1_weight"] = words
    path = tmp_path / "w.params"
    path.write_bytes(written(arrays))
    with pytest.raises(netsuke.Error, match=f"stage1.unit2.conv1.binary has {message}"):
        load_weights(model, path)


def test_costs() -> None:
    """Of the published graph: four binary shortcuts, a float first convolution and classifier."""
    found = costs(NAME)
    assert found.binary_parameters == 11_161_600
    assert found.flops == 118_013_952 + 512_000
    assert found.size_bytes() < 3.6e6


def test_two_training_steps() -> None:
    model: Any = train_two_steps(NAME)
    assert torch.equal(model.bn_data.weight, torch.ones(3))  # fix_gamma


@published
def test_the_published_network_is_its_symbol_graph() -> None:
    x = 50 * images(NAME, 2, 64)
    arrays = read_ndarrays(PARAMS)
    expected = run_symbol(SYMBOL, arrays, x)
    model = load_weights(netsuke.create_model(NAME), PARAMS).double().eval()
    with torch.no_grad():
        found = model(x.double())
    assert found.shape == (2, 1000)
    assert float((found - expected).abs().max()) <= 1e-9 * float(expected.abs().max())


@pytest.mark.slow
@published
def test_the_file_holds_the_published_bits() -> None:
    arrays = read_ndarrays(PARAMS)
    lowered = lower(load_weights(netsuke.create_model(NAME), PARAMS), images(NAME, 1, 32))
    nodes = [node for node in lowered.graph.nodes if isinstance(node, BinaryNode)]
    assert len(nodes) == 20
    for node in nodes:
        name = node.name.removesuffix(".binary").replace(".", "_")
        bits = np.unpackbits(arrays[f"arg:{name}_weight"].numpy().view(np.uint8), bitorder="little")
        np.testing.assert_array_equal((node.weight.transpose(0, 3, 1, 2).reshape(-1) + 1) // 2, bits)
        assert node.padding_mode == "ones"
