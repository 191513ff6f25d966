"""The float network that a compressed one is compared with: no binarizers, batch norm folded."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from netsuke.models import create_model, get_model


def float_counterpart(model: str, classes: int | None, **arguments: Any) -> nn.Module:
    """The float counterpart of the registry's `model`, in eval mode, its batch norms folded into the convolutions.

    Its weights are random (seed 0): only its time is of interest. arguments: more of create_model's.
    """
    module = create_model(get_model(model).float_counterpart, num_classes=classes, **arguments).eval()
    return fold_batch_norm(module)


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """A copy of an eval-mode module whose batch norms are inside the convolutions before them."""
    return fuse(module)


def write_onnx(module: nn.Module, shape: tuple[int, int, int, int], path: Path) -> None:
    """Export an eval-mode module for float32 images of exactly this (N, C, H, W)."""
    # Its remarks (that torchvision is missing, and such) say nothing about the network.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(shape),), path, dynamo=True, verbose=False, external_data=False)
