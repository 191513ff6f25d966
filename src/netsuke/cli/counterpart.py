"""The float network that a compressed one is compared with: no binarizers, batch norm folded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse

from netsuke.lowering import lower
from netsuke.models import create_model, get_model
from netsuke.onnx import export_onnx


def float_counterpart(model: str, classes: int | None, **arguments: Any) -> nn.Module:
    """The float counterpart of the registry's `model`, in eval mode.

    Its weights are random (seed 0): only its time is of interest. arguments: more of create_model's.
    """
    return create_model(get_model(model).float_counterpart, num_classes=classes, **arguments).eval()


class _Tracer(fx.Tracer):
    """Takes our layers, such as the end of a detector, as they are: none holds a batch norm."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.startswith("netsuke.nn") or super().is_leaf_module(m, module_qualified_name)


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """A copy of an eval-mode module whose batch norms are inside the convolutions before them."""
    return fuse(fx.GraphModule(module, _Tracer().trace(module)), no_trace=True)


def write_onnx(module: nn.Module, shape: tuple[int, int, int, int], path: Path) -> None:
    """Write an eval-mode module as an ONNX file for float32 images of this shape (N, C, H, W), and any other N; its
    batch norms become a part of the convolutions before them."""
    export_onnx(lower(module, torch.zeros(shape)).graph, path)
