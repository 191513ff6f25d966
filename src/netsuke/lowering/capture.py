"""A module as a functional graph of aten operators, with the batch as the one dynamic dimension."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from netsuke.artifact.contract import Error
from netsuke.lowering.freeze import freeze


@dataclass
class Captured:
    """module: the functional graph, float32, weights as attributes. input_shape: (C, H, W)."""

    module: fx.GraphModule
    input_shape: tuple[int, int, int]


def capture(module: nn.Module, example: Tensor) -> Captured:
    """Capture a frozen copy of `module` on `example`, an image batch (N, C, H, W) of floats.

    Raises netsuke.Error where the example is no image batch, the module fails on it, or torch.export cannot follow it.
    """
    if not isinstance(module, nn.Module):
        raise Error(f"export takes a torch.nn.Module, not a {type(module).__name__}")
    if not isinstance(example, Tensor) or example.dim() != 4 or 0 in example.shape:
        what = f"shape {tuple(example.shape)}" if isinstance(example, Tensor) else type(example).__name__
        raise Error(f"example_input must be one batch of images (N, C, H, W), but it is {what}")
    frozen = freeze(module)
    # A batch of one would be taken for a constant.
    batch = example.detach().cpu().float()[:1].repeat(2, 1, 1, 1)
    try:
        with torch.no_grad():
            frozen(batch)
    except Exception as error:
        raise Error(
            f"{type(module).__name__} fails on an input of shape {tuple(example.shape)}: {_line(error)}"
        ) from error
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(frozen, (batch,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
            # An empty table decomposes nothing, and makes the graph functional: no operator writes into its input.
            captured = program.run_decompositions({}).module(check_guards=False)
    except Exception as error:  # torch.export raises many kinds, for whatever the user's code does
        why = _line(error)
        if "Constraints violated" in why:
            why = "its forward fixes the batch size. Use x.size(0) or -1 where it takes len(x) or a number"
        raise Error(f"torch.export cannot capture {type(module).__name__}: {why}") from error
    channels, height, width = batch.shape[1:]
    return Captured(captured, (channels, height, width))


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
