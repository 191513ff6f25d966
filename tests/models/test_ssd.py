"""SSD300 and AdaBin's form: their layers, default boxes, names in the published code, two steps of training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import netsuke
from netsuke import Error
from netsuke.data.voc import CLASSES
from netsuke.models import load_weights
from netsuke.models.ssd import VOC_LABELS
from netsuke.models.weights import published_weights
from netsuke.nn import BinaryConv2d
from netsuke.train.multibox import MultiBox

NARROW = {"num_classes": 3, "width": 0.125}
SIZES = [(38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)]
PLACES = 8732  # Liu et al. 2016, section 3.1


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 300, 300, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("name", ["ssd300_vgg16", "adabin_ssd300_vgg16"])
def test_maps_and_default_boxes_are_those_of_the_paper(name: str) -> None:
    model = netsuke.create_model(name, **NARROW)
    seen: list[tuple[int, int]] = []
    for head in model.locations:
        head.register_forward_hook(lambda _, __, out: seen.append((out.shape[2], out.shape[3])))
    offsets, logits = model.train()(images(2))
    assert seen == SIZES
    assert offsets.shape == (2, PLACES, 4)
    assert logits.shape == (2, PLACES, 4)
    rows = model.eval()(images(1))
    assert rows.shape == (1, 200, 6)
    labels = set(rows[0, :, 5].int().tolist())
    assert labels <= {-1, 0, 1, 2}


def test_default_boxes_are_caffes() -> None:
    """In pixels: step, squares of min_size and sqrt(min_size * max_size), then ratios 2, 1/2, 3, 1/3."""
    model = netsuke.create_model("ssd300_vgg16", **NARROW)
    boxes = 300 * model.detector.defaults(SIZES)
    assert boxes[0].tolist() == pytest.approx([4, 4, 30, 30])
    assert boxes[1].tolist() == pytest.approx([4, 4, 1800**0.5, 1800**0.5])
    assert boxes[2].tolist() == pytest.approx([4, 4, 30 * 2**0.5, 30 / 2**0.5])
    assert boxes[3].tolist() == pytest.approx([4, 4, 30 / 2**0.5, 30 * 2**0.5])
    assert boxes[4].tolist() == pytest.approx([12, 4, 30, 30])
    second = boxes[38 * 38 * 4 :]
    assert second[4].tolist() == pytest.approx([8, 8, 60 * 3**0.5, 60 / 3**0.5])
    assert second[5].tolist() == pytest.approx([8, 8, 60 / 3**0.5, 60 * 3**0.5])
    assert boxes[-4].tolist() == pytest.approx([150, 150, 264, 264])
    assert boxes[-1].tolist() == pytest.approx([150, 150, 264 / 2**0.5, 264 * 2**0.5])


def test_the_published_network_has_its_size() -> None:
    """VGG-16, fc6 and fc7 as convolutions, the eight layers behind it, the heads of 21 classes."""
    with torch.device("meta"):
        model = netsuke.create_model("ssd300_vgg16")
    assert model.detector.labels == VOC_LABELS == CLASSES

    def convolution(inputs: int, outputs: int, kernel: int) -> int:
        return (inputs * kernel * kernel + 1) * outputs

    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512, 1024]
    total = sum(convolution(a, b, 3) for a, b in zip(widths, widths[1:], strict=False)) + convolution(1024, 1024, 1)
    total += sum(
        convolution(a, b, 1) + convolution(b, c, 3)
        for a, b, c in [(1024, 256, 512), (512, 128, 256), (256, 128, 256), (256, 128, 256)]
    )
    sources = [(512, 4), (1024, 6), (512, 6), (256, 6), (256, 4), (256, 4)]
    total += sum(convolution(a, n * (4 + 21), 3) for a, n in sources) + 512
    assert sum(p.numel() for p in model.parameters()) == total


def test_all_but_the_first_layer_and_the_heads_are_binary() -> None:
    model = netsuke.create_model("adabin_ssd300_vgg16", **NARROW)
    float_ones = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and not isinstance(m, BinaryConv2d)]
    assert float_ones == ["conv1_1.conv", *(f"{kind}.{i}" for kind in ("locations", "confidences") for i in range(6))]
    shortcuts = [name for name, m in model.named_children() if getattr(m, "shortcut", None) is not None]
    plain = {"conv1_1", "conv8_1", "conv9_1", "conv10_1", "conv10_2", "conv11_1", "conv11_2"}
    layers = [name for name, _ in model.named_children() if name.startswith(("conv", "fc"))]
    assert set(shortcuts) == {name for name in layers if not name.startswith("confidences")} - plain


def test_names_of_the_published_code() -> None:
    model = netsuke.create_model("ssd300_vgg16", **NARROW)
    theirs = published_weights(model)
    for name in ("vgg.0.weight", "vgg.21.bias", "vgg.33.weight", "extras.7.bias", "L2Norm.weight", "loc.0.weight",
                 "conf.5.bias"):  # fmt: skip
        assert name in theirs
    assert torch.equal(theirs["vgg.31.weight"], model.fc6.conv.weight)
    assert torch.equal(theirs["vgg.0.weight"], model.conv1_1.conv.weight.flip(1))  # RGB there, BGR here
    back = model.from_published(theirs)
    assert back.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, back[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(model.from_published(model.state_dict())["conv1_1.conv.weight"], model.conv1_1.conv.weight)


@pytest.mark.parametrize("name", ["ssd300_vgg16", "adabin_ssd300_vgg16"])
def test_training_starts_from_vgg16(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("vgg") / "vgg16_reducedfc.pth"
    source = netsuke.create_model("ssd300_vgg16", **NARROW, seed=1)
    vgg = {k.removeprefix("vgg."): v for k, v in published_weights(source).items() if k.startswith("vgg.")}
    vgg["0.weight"] = source.conv1_1.conv.weight.detach()  # Caffe's own, BGR
    torch.save(vgg, path)
    model = netsuke.create_model(name, **NARROW)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    load_weights(model, path)
    assert torch.equal(model.conv1_1.conv.weight, source.conv1_1.conv.weight)
    assert torch.equal(model.conv4_3.conv.weight, source.conv4_3.conv.weight)
    assert torch.equal(model.fc7.conv.weight, source.fc7.conv.weight)
    assert torch.equal(model.conv8_1.conv.weight, before["conv8_1.conv.weight"])
    assert torch.equal(model.confidences[0].weight, before["confidences.0.weight"])


def test_labels_fit_the_classes() -> None:
    model = netsuke.create_model("adabin_ssd300_vgg16", num_classes=2, labels=["cat", "dog"], width=0.125)
    assert model.detector.labels == ("cat", "dog")
    with pytest.raises(Error, match="2 labels for 3 classes"):
        netsuke.create_model("ssd300_vgg16", num_classes=3, labels=["cat", "dog"])


@pytest.mark.parametrize(
    ("name", "arguments"), [("ssd300_vgg16", {"batch_norm": True}), ("ssd300_vgg16", {}), ("adabin_ssd300_vgg16", {})]
)
def test_two_steps_of_training(name: str, arguments: dict[str, bool]) -> None:
    model = netsuke.create_model(name, **NARROW, **arguments).train()
    objects = torch.tensor([[[0.1, 0.1, 0.3, 0.4, 0, 0], [0.5, 0.5, 0.9, 0.8, 2, 0]], [[0.2, 0.3, 0.9, 0.9, 1, 0]] * 2])
    multibox, optimizer = MultiBox(model.detector), torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(3):
        loss, _ = multibox(*model(images(2)), objects)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        for path, parameter in model.named_parameters():
            assert parameter.grad is not None, path
            assert torch.isfinite(parameter.grad).all(), path
        for path, layer in model.named_modules():
            # Not the heads, since some maps have no object; nor where batch norm sees one pixel of each of two images.
            if path.endswith(".conv") and not path.startswith("conv11"):
                assert layer.weight.grad.any(), path
        optimizer.step()
    assert losses[-1] < losses[0]
