"""The compiled training kernels, where they are installed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

kernels: Any = None
try:
    from netsuke.nn import _kernels as kernels
except ImportError:  # training then goes through PyTorch's own operators
    kernels = None

FAST = (torch.float32, torch.bfloat16)  # the types of maps that they take


def address(tensor: Tensor | None) -> int:
    """Where the tensor's numbers begin; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()
