"""The table of models: what `netsuke.create_model` can make."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from netsuke.artifact.contract import Error
from netsuke.models import (
    adabin_resnet,
    adabin_vgg,
    birealnet,
    bmxnet_resnet,
    bnext,
    bnext18,
    boolnet,
    efficientnet_lite,
    lenet,
    meliusnet,
    pokebnn,
    reactnet,
    real_to_binary,
    resnet,
    squeezenet,
    ssd,
    vgg_small,
    xnor_net,
)

# Keyword arguments of netsuke.Preprocess.
IMAGENET_STATISTICS: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
IMAGENET_EVAL: dict[str, Any] = {**IMAGENET_STATISTICS, "resize": 256, "crop": 224}
# timm's, with a crop of 0.95.
BNEXT_EVAL: dict[str, Any] = {**IMAGENET_STATISTICS, "resize": 235, "crop": 224, "interpolation": "bicubic"}
# As BNext's code writes them.
CIFAR_STATISTICS: dict[str, Any] = {"mean": (0.507, 0.487, 0.441), "std": (0.267, 0.256, 0.276)}
# Pixels of 0 to 1: black stays 0.
MNIST_PREPROCESS: dict[str, Any] = {"mean": (0.0,), "std": (1.0,)}
# Caffe's, in the order blue, green, red.
CAFFE_EVAL: dict[str, Any] = {
    "mean": (104.0, 117.0, 123.0), "std": (1.0, 1.0, 1.0), "scale": 1.0, "order": "BGR", "resize": 256, "crop": 227,
}  # fmt: skip
# BMXNet's: pixels of 0 to 255 less the mean of each channel.
BMXNET_EVAL: dict[str, Any] = {
    "mean": (123.68, 116.779, 103.939), "std": (1.0, 1.0, 1.0), "scale": 1.0, "resize": 256, "crop": 224,
}  # fmt: skip
# TensorFlow's for the Lite networks: pixels of -1 to 1.
LITE_EVAL: dict[str, Any] = {
    "mean": (127.0, 127.0, 127.0), "std": (128.0, 128.0, 128.0), "scale": 1.0,
    "resize": 256, "crop": 224, "interpolation": "bicubic",
}  # fmt: skip

RESNET_PAPER = "He et al. 2016, Deep Residual Learning for Image Recognition"
VGG_PAPER = "Zhang et al. 2018, LQ-Nets (the VGG-small of its section 4)"
LENET_PAPER = "LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition (as Han et al. 2015 have it)"
SQUEEZENET_PAPER = "Iandola et al. 2016, SqueezeNet: AlexNet-level accuracy with 50x fewer parameters"
EFFICIENTNET_PAPER = (
    "Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (its Lite0)"
)
ADABIN_PAPER = "Tu et al. 2022, AdaBin: Improving Binary Neural Networks with Adaptive Binary Sets"
BNEXT_PAPER = "Guo et al. 2022, Join the High Accuracy Club on ImageNet with A Binary Neural Network Ticket (BNext)"
XNOR_PAPER = "Rastegari et al. 2016, XNOR-Net: ImageNet Classification Using Binary Convolutional Neural Networks"
BIREAL_PAPER = "Liu et al. 2018, Bi-Real Net: Enhancing the Performance of 1-bit CNNs"
REAL_TO_BINARY_PAPER = "Martinez et al. 2020, Training Binary Neural Networks with Real-to-Binary Convolutions"
REACTNET_PAPER = (
    "Liu et al. 2020, ReActNet: Towards Precise Binary Neural Network with Generalized Activation Functions"
)
MELIUSNET_PAPER = "Bethge et al. 2020, MeliusNet: Can Binary Neural Networks Achieve MobileNet-level Accuracy?"
BOOLNET_PAPER = "Guo et al. 2021, BoolNet: Minimizing the Energy Consumption of Binary Neural Networks"
BMXNET_PAPER = "Yang et al. 2017, BMXNet: An Open-Source Binary Neural Network Implementation Based on MXNet"
SSD_PAPER = "Liu et al. 2016, SSD: Single Shot MultiBox Detector"
POKEBNN_PAPER = "Zhang et al. 2022, PokeBNN: A Binary Pursuit of Lightweight Accuracy"
# Caffe's, in the order blue, green, red; the image fills the square, whatever its shape.
SSD_EVAL: dict[str, Any] = {
    "mean": (104.0, 117.0, 123.0), "std": (1.0, 1.0, 1.0), "scale": 1.0, "order": "BGR", "resize": ssd.SIZE,
    "fit": "stretch",
}  # fmt: skip


@dataclass(frozen=True)
class ModelEntry:
    """One row of the registry.

    input: (C, H, W) of one image. preprocess: keyword arguments for netsuke.Preprocess, as its published weights want
    them. float_counterpart: the registry name of the network without binarizers (its own name if it is that already).
    """

    name: str
    paper: str
    input: tuple[int, int, int]
    num_classes: int
    preprocess: dict[str, Any]
    build: Callable[..., nn.Module]
    float_counterpart: str
    task: str = "classification"


def _cifar(name: str, paper: str, build: Callable[..., nn.Module], counterpart: str) -> ModelEntry:
    return ModelEntry(name, paper, (3, 32, 32), 10, IMAGENET_STATISTICS, build, counterpart)


def _imagenet(name: str, paper: str, build: Callable[..., nn.Module], counterpart: str) -> ModelEntry:
    return ModelEntry(name, paper, (3, 224, 224), 1000, IMAGENET_EVAL, build, counterpart)


def _ssd(name: str, paper: str, build: Callable[..., nn.Module]) -> ModelEntry:
    shape = (3, ssd.SIZE, ssd.SIZE)
    return ModelEntry(name, paper, shape, len(ssd.VOC_LABELS), SSD_EVAL, build, "ssd300_vgg16", "detection")


def _mnist(name: str, build: Callable[..., nn.Module]) -> ModelEntry:
    return ModelEntry(name, LENET_PAPER, (1, 28, 28), 10, MNIST_PREPROCESS, build, name)


def _binary(
    name: str, paper: str, build: Callable[..., nn.Module], preprocess: dict[str, Any] = IMAGENET_EVAL
) -> list[ModelEntry]:
    """A binary ImageNet network and its float counterpart. build: (binary, **arguments) -> model."""
    counterpart = f"{name}_float"
    return [
        ModelEntry(own, paper, (3, 224, 224), 1000, preprocess, partial(build, binary), counterpart)
        for own, binary in ((name, True), (counterpart, False))
    ]


def _bnext(name: str, build: Callable[..., nn.Module], small: bool = False) -> list[ModelEntry]:
    """The binary network and its float counterpart. build: (binary, **arguments) -> model. small: for CIFAR."""
    size, classes, preprocess = (32, 10, CIFAR_STATISTICS) if small else (224, 1000, BNEXT_EVAL)
    counterpart = f"{name}_float"
    return [
        ModelEntry(own, BNEXT_PAPER, (3, size, size), classes, preprocess, partial(build, binary), counterpart)
        for own, binary in ((name, True), (counterpart, False))
    ]


_ENTRIES = [
    _cifar("resnet20", RESNET_PAPER, resnet.resnet20, "resnet20"),
    _cifar("resnet32", RESNET_PAPER, resnet.resnet32, "resnet32"),
    _cifar("resnet44", RESNET_PAPER, resnet.resnet44, "resnet44"),
    _cifar("resnet56", RESNET_PAPER, resnet.resnet56, "resnet56"),
    _cifar("resnet18", RESNET_PAPER, resnet.resnet18, "resnet18"),
    _cifar("vgg_small", VGG_PAPER, vgg_small.vgg_small, "vgg_small"),
    _mnist("lenet_300_100", lenet.lenet_300_100),
    _mnist("lenet5", lenet.lenet5),
    ModelEntry(
        "squeezenet1_0", SQUEEZENET_PAPER, (3, 227, 227), 1000, CAFFE_EVAL, squeezenet.squeezenet1_0, "squeezenet1_0"
    ),
    ModelEntry(
        "efficientnet_lite0",
        EFFICIENTNET_PAPER,
        (3, 224, 224),
        1000,
        LITE_EVAL,
        efficientnet_lite.efficientnet_lite0,
        "efficientnet_lite0",
    ),  # fmt: skip
    _imagenet("resnet18_imagenet", RESNET_PAPER, resnet.resnet18_imagenet, "resnet18_imagenet"),
    _imagenet("resnet34_imagenet", RESNET_PAPER, resnet.resnet34_imagenet, "resnet34_imagenet"),
    _cifar("adabin_resnet20", ADABIN_PAPER, adabin_resnet.adabin_resnet20, "resnet20"),
    _cifar("adabin_resnet18", ADABIN_PAPER, adabin_resnet.adabin_resnet18, "resnet18"),
    _cifar("adabin_vgg_small", ADABIN_PAPER, adabin_vgg.adabin_vgg_small, "vgg_small"),
    _imagenet("adabin_resnet18_imagenet", ADABIN_PAPER, adabin_resnet.adabin_resnet18_imagenet, "resnet18_imagenet"),
    _imagenet("adabin_resnet34_imagenet", ADABIN_PAPER, adabin_resnet.adabin_resnet34_imagenet, "resnet34_imagenet"),
    *_binary("xnor_alexnet", XNOR_PAPER, xnor_net.xnor_alexnet),
    *_binary("xnor_resnet18", XNOR_PAPER, xnor_net.xnor_resnet18),
    _imagenet("adabin_alexnet", ADABIN_PAPER, xnor_net.adabin_alexnet, "xnor_alexnet_float"),
    *_binary("birealnet18", BIREAL_PAPER, birealnet.birealnet18),
    *_binary("birealnet34", BIREAL_PAPER, birealnet.birealnet34),
    *_binary("real_to_binary_resnet18", REAL_TO_BINARY_PAPER, real_to_binary.real_to_binary_resnet18),
    *_binary("reactnet_a", REACTNET_PAPER, reactnet.reactnet_a),
    *_binary("reactnet_resnet18", REACTNET_PAPER, reactnet.reactnet_resnet18),
    _imagenet("adabin_reactnet_a", ADABIN_PAPER, reactnet.adabin_reactnet_a, "reactnet_a_float"),
    *_binary("meliusnet22", MELIUSNET_PAPER, partial(meliusnet.meliusnet, 22)),
    *_binary("meliusnet29", MELIUSNET_PAPER, partial(meliusnet.meliusnet, 29)),
    *_binary("meliusnet42", MELIUSNET_PAPER, partial(meliusnet.meliusnet, 42)),
    *_binary("meliusnet59", MELIUSNET_PAPER, partial(meliusnet.meliusnet, 59)),
    _imagenet("adabin_meliusnet59", ADABIN_PAPER, meliusnet.adabin_meliusnet59, "meliusnet59_float"),
    *_binary("basenet_k1", BOOLNET_PAPER, partial(boolnet.basenet, 1)),
    *_binary("basenet_k4", BOOLNET_PAPER, partial(boolnet.basenet, 4)),
    *_binary("boolnet_k4", BOOLNET_PAPER, boolnet.boolnet),
    *_binary("boolnet_star_k4", BOOLNET_PAPER, boolnet.boolnet_star),
    *_binary("pokebnn_0_5x", POKEBNN_PAPER, partial(pokebnn.pokebnn, 0.5)),
    *_binary("pokebnn_0_75x", POKEBNN_PAPER, partial(pokebnn.pokebnn, 0.75)),
    *_binary("pokebnn_1_0x", POKEBNN_PAPER, partial(pokebnn.pokebnn, 1.0)),
    *_binary("pokebnn_1_5x", POKEBNN_PAPER, partial(pokebnn.pokebnn, 1.5)),
    *_binary("pokebnn_2_0x", POKEBNN_PAPER, partial(pokebnn.pokebnn, 2.0)),
    _ssd("ssd300_vgg16", SSD_PAPER, ssd.ssd300_vgg16),
    _ssd("adabin_ssd300_vgg16", ADABIN_PAPER, ssd.adabin_ssd300_vgg16),
    *_binary("bmxnet_resnet18_imagenet", BMXNET_PAPER, bmxnet_resnet.bmxnet_resnet18_imagenet, BMXNET_EVAL),
    *_bnext("bnext_tiny", partial(bnext.bnext, bnext.TINY)),
    *_bnext("bnext_small", partial(bnext.bnext, bnext.SMALL)),
    *_bnext("bnext_middle", partial(bnext.bnext, bnext.MIDDLE)),
    *_bnext("bnext_large", partial(bnext.bnext, bnext.LARGE)),
    *_bnext("bnext18", bnext18.bnext18),
    *_bnext("bnext18_cifar", bnext18.bnext18, small=True),
]
MODELS = {entry.name: entry for entry in _ENTRIES}


def list_models() -> list[str]:
    """The names that `create_model` knows, sorted."""
    return sorted(MODELS)


def get_model(name: str) -> ModelEntry:
    """The registry entry of `name`. Raises netsuke.Error, with the names close to it, where there is none."""
    if name in MODELS:
        return MODELS[name]
    close = difflib.get_close_matches(str(name), MODELS, n=4, cutoff=0.4) or list_models()[:4]
    raise Error(f"no model is named {name!r}. Close to it: {', '.join(close)}. `netsuke models` lists all.")


def create_model(name: str, num_classes: int | None = None, seed: int = 0, **kwargs: Any) -> nn.Module:
    """A new model of the registry, in training mode, with random weights of `seed`.

    The weights are the same on every call, and the global random state is left alone. num_classes: the dataset's own
    when not given. Raises netsuke.Error for an unknown name or argument.
    """
    entry = get_model(name)
    classes = entry.num_classes if num_classes is None else num_classes
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise Error(f"num_classes is {num_classes!r}: give a whole number of at least 1")
    known = inspect.signature(entry.build).parameters
    for argument in kwargs:
        if argument not in known:
            why = "there are no weights to download: load a checkpoint with netsuke.models.load_weights(model, path)"
            if argument not in ("pretrained", "weights"):
                why = f"it takes {', '.join(['seed', *known])}"
            raise Error(f"{name} takes no argument {argument!r}; {why}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return entry.build(num_classes=classes, **kwargs)
