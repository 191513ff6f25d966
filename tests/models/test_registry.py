"""The registry: every model can be made, is what its paper says, and comes out the same each time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import netsuke
from netsuke.models import get_model
from netsuke.nn import BinaryConv2d, BinaryLinear, Maxout
from small_images import small_images, takes_width

NAMES = netsuke.list_models()
CLASSIFIERS = [n for n in NAMES if get_model(n).task == "classification"]


def test_the_models_of_the_first_issue_are_there() -> None:
    float_ones = {"resnet20", "resnet32", "resnet44", "resnet56", "resnet18", "vgg_small"}
    adabin = {"adabin_resnet20", "adabin_resnet18", "adabin_vgg_small"}
    imagenet = {f"{prefix}resnet{depth}_imagenet" for prefix in ("", "adabin_") for depth in (18, 34)}
    assert float_ones | adabin | imagenet <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_entry_is_complete(name: str) -> None:
    entry = get_model(name)
    assert entry.name == name
    assert entry.paper
    assert entry.task in ("classification", "detection")
    assert netsuke.Preprocess(**entry.preprocess).affine()[0].shape == (entry.input[0],)
    assert get_model(entry.float_counterpart).float_counterpart == entry.float_counterpart


# Of the deep networks of one paper, the smallest is enough; float ones are made as counterparts.
DEEP = {
    "basenet_k1",
    "basenet_k4",
    "boolnet_star_k4",
    "pokebnn_0_5x",
    "pokebnn_0_75x",
    "pokebnn_1_5x",
    "pokebnn_2_0x",
    "birealnet34",
    "meliusnet29",
    "meliusnet42",
    "meliusnet59",
    "adabin_meliusnet59",
}
SLOW = {n for n in NAMES if n.removesuffix("_float") in DEEP or (n.endswith("_float") and not n.startswith("bnext"))}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CLASSIFIERS])
def test_forward_and_float_counterpart(name: str) -> None:
    entry = get_model(name)
    images = small_images(name, 2)
    arguments = {"num_classes": 7, **({"width": 0.25} if takes_width(name) else {})}
    model = netsuke.create_model(name, **arguments).eval()
    with torch.no_grad():
        assert model(images).shape == (2, 7)
    counterpart = netsuke.create_model(entry.float_counterpart, **arguments)
    assert not any(isinstance(m, (BinaryConv2d, BinaryLinear)) for m in counterpart.modules())

    def shapes(module: nn.Module) -> list[torch.Size]:
        return sorted(m.weight.shape for m in module.modules() if isinstance(m, nn.Conv2d))

    assert shapes(model) == shapes(counterpart)


# He et al. 2016, table 6, and torchvision's counts; AdaBin adds two scalars a binary layer, two slopes a channel.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet20", 269_722),
        ("resnet56", 853_018),
        ("resnet18_imagenet", 11_689_512),
        ("resnet34_imagenet", 21_797_672),
    ],
)
def test_parameter_count(name: str, parameters: int) -> None:
    assert sum(p.numel() for p in netsuke.create_model(name).parameters()) == parameters


def binary_macs(model: nn.Module, size: int) -> int:
    """Multiply-accumulates of the binary convolutions on one size x size image."""
    total = 0

    def count(layer: nn.Module, _: object, y: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, BinaryConv2d)
        total += y[0].numel() * layer.weight[0].numel()

    for module in model.modules():
        if isinstance(module, BinaryConv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    return total


def test_adabin_resnet18_has_its_published_cost() -> None:
    """1.68 G binary operations at 224x224 (shared table of the AdaBin row); the classifier and stem are float."""
    model = netsuke.create_model("adabin_resnet18_imagenet")
    assert round(binary_macs(model, 224) / 1e9, 2) == 1.68


@pytest.mark.parametrize("name", [n for n in CLASSIFIERS if n.startswith("adabin")])
def test_first_and_last_layer_stay_float(name: str) -> None:
    with torch.device("meta"):
        model = netsuke.create_model(name)
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert not isinstance(layers[0], BinaryConv2d)
    assert type(layers[-1]) is nn.Linear
    assert sum(isinstance(m, BinaryConv2d) for m in layers) >= 5
    if get_model(name).float_counterpart not in ("reactnet_a_float", "meliusnet59_float"):  # these keep their own
        assert any(isinstance(m, Maxout) for m in model.modules())


def test_weights_are_reproducible_and_the_global_state_is_left_alone() -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = netsuke.create_model("adabin_resnet20").state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    second = netsuke.create_model("adabin_resnet20").state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    other = netsuke.create_model("adabin_resnet20", seed=1).state_dict()
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_an_unknown_name_lists_close_ones() -> None:
    with pytest.raises(netsuke.Error, match="adabin_resnet20") as caught:
        netsuke.create_model("adabin_resnet21")
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize("name", ["", "nope", 3, None])
def test_nonsense_names_are_refused(name: object) -> None:
    with pytest.raises(netsuke.Error, match="netsuke models"):
        netsuke.create_model(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [0, -1, 2.5, "ten", True])
def test_num_classes_is_checked(classes: object) -> None:
    with pytest.raises(netsuke.Error, match="num_classes"):
        netsuke.create_model("resnet20", num_classes=classes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("argument", "pattern"), [("pretrained", "load_weights"), ("centre", "num_classes, center")])
def test_unknown_arguments_are_refused(argument: str, pattern: str) -> None:
    with pytest.raises(netsuke.Error, match=pattern):
        netsuke.create_model("adabin_resnet20", **{argument: True})


def test_a_width_scales_every_layer_but_the_image_and_the_classes() -> None:
    for name in ("adabin_resnet18_imagenet", "resnet18_imagenet"):
        narrow, published = netsuke.create_model(name, width=16), netsuke.create_model(name)
        shapes = [
            [tuple(m.weight.shape[:2]) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
            for model in (narrow, published)
        ]
        assert [(o if o == 1000 else 4 * o, i if i == 3 else 4 * i) for o, i in shapes[0]] == shapes[1]
