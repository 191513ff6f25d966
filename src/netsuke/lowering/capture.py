"""A module as a functional graph of aten operators, with the batch as the one dynamic dimension."""

from __future__ import annotations

import io
import logging
import os
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from netsuke.artifact.contract import Error, first_line
from netsuke.lowering.freeze import freeze
from netsuke.nn.parallel import unwrapped


@dataclass
class Captured:
    """module: the functional graph, float32, weights as attributes. input_shape: (C, H, W)."""

    module: fx.GraphModule
    input_shape: tuple[int, int, int]


def capture(module: nn.Module, example: Tensor) -> Captured:
    """Capture a frozen copy of `module` on `example`, an image batch (N, C, H, W) of floats.

    Raises netsuke.Error where the example is no image batch, the module fails on it, torch.export cannot follow it, or
    one graph cannot stand for it: its forward draws random numbers, or does other things at other batch sizes.
    """
    if not isinstance(module, nn.Module):
        raise Error(f"export takes a torch.nn.Module, not a {type(module).__name__}")
    if not isinstance(example, Tensor) or example.dim() != 4 or 0 in example.shape:
        what = f"shape {tuple(example.shape)}" if isinstance(example, Tensor) else type(example).__name__
        hint = ". The order is export(module, example_input, path)" if isinstance(example, (str, os.PathLike)) else ""
        raise Error(f"example_input must be one batch of images (N, C, H, W), but it is {what}{hint}")
    module = unwrapped(module)
    frozen = freeze(module)
    if isinstance(frozen, fx.GraphModule):
        # Node by node, since only the nodes know the lines of the forward that was rewritten.
        frozen.forward = types.MethodType(lambda self, x: fx.Interpreter(self).run(x), frozen)
    # A batch of one would be taken for a constant.
    batch = example.detach().cpu().float()[:1].repeat(2, 1, 1, 1)
    name = type(module).__name__
    _run(frozen, batch, name)
    try:
        with torch.no_grad(), _quiet(), fx.traceback.preserve_node_meta():
            program = torch.export.export(frozen, (batch,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
            # An empty table decomposes nothing, and makes the graph functional: no operator writes into its input.
            captured = program.run_decompositions({}).module(check_guards=False)
    except Exception as error:  # torch.export raises many kinds, for whatever the user's code does
        why = first_line(error, 300)
        if "Constraints violated" in why:
            why = "its forward fixes the batch size. Use x.size(0) or -1 where it takes len(x) or a number"
        elif "data-dependent" in why or "guard on" in why:
            why = "its forward takes a decision that depends on the values in a tensor. A file holds one fixed graph"
        raise Error(f"torch.export cannot capture {name}: {why}") from error
    _check(frozen, captured, program, batch, name)
    channels, height, width = batch.shape[1:]
    return Captured(captured, (channels, height, width))


def _run(module: nn.Module, batch: Tensor, name: str) -> list[Any]:
    """What `module` returns, as a flat list."""
    try:
        with torch.no_grad():
            return torch.utils._pytree.tree_leaves(module(batch))
    except Exception as error:
        raise Error(f"{name} fails on an input of shape {tuple(batch.shape)}: {first_line(error)}") from error


def _check(frozen: nn.Module, captured: nn.Module, program: Any, batch: Tensor, name: str) -> None:
    """Refuse what one graph cannot stand for: a forward that draws random numbers, or depends on the batch size."""
    # What torch.export took for granted about the batch size, which it starts from 2 on.
    guards = list(getattr(program, "_guards_code", None) or ())
    limits = [(r.lower, r.upper) for r in program.range_constraints.values()]
    depends = bool(guards) or any(not (lower <= 2 and upper > 1 << 30) for lower, upper in limits)
    # Noise, since an example of zeros would hide much. The smallest batches show the rest.
    noise = torch.randn((3, *batch.shape[1:]), generator=torch.Generator().manual_seed(0))
    for size in () if depends else (2, 1, 3):
        expected = _run(frozen, noise[:size], name)
        if size == 2 and not _agree(expected, _run(frozen, noise[:size], name)):
            raise Error(
                f"{name} gives two results for one batch, even in eval mode: its forward draws random numbers or keeps "
                "a state. A file holds neither: leave that out where self.training is False"
            )
        depends = depends or not _agree(expected, _run(captured, noise[:size], name))
    if depends:
        raise Error(
            f"the forward of {name} depends on the batch size: a file holds one graph for every batch. "
            "Remove the branch or the number that is made from x.shape[0], len(x) or x.numel()"
        )


def _agree(expected: list[Any], got: list[Any]) -> bool:
    """Equal shapes, and numbers within a thousandth of the largest: a bit on its threshold may flip."""
    if len(expected) != len(got):
        return False
    for a, b in zip(expected, got, strict=True):
        if not isinstance(a, Tensor) or not isinstance(b, Tensor):
            continue  # refused when the graph is built
        if a.shape != b.shape:
            return False
        if a.numel():
            scale = float(a.double().nan_to_num().abs().max())
            if not torch.allclose(a.double(), b.double(), rtol=0, atol=1e-3 * scale, equal_nan=True):
                return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warnings and its dumps of graphs, which would stand before our one line."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
