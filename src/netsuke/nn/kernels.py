"""The compiled training kernels, where they are installed."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor


def _load() -> Any:
    try:
        return importlib.import_module("netsuke.nn._kernels")
    except ImportError:
        return None


kernels = _load()  # None: training goes through PyTorch's own operators
FAST = (torch.float32, torch.bfloat16)  # the types of maps that they take
CHANNELS = 16  # bits of a word of a map of bits


def address(tensor: Tensor | None) -> int:
    """Where the tensor's numbers begin; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()
