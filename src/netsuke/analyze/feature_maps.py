"""What the layers of a network make of one image."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error
from netsuke.nn.modes import evaluating


def feature_maps(module: nn.Module, image: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
    """The maps that the submodules named in `layers` put out for one image: name -> float (C, H, W), in that order.

    image: (C, H, W) or (1, C, H, W), normalised. module: run in eval mode and left as it was. A binarizer is a module
    too: "layer1.0.conv1.binary_a" gives the two-valued map that the convolution reads. Of a module that runs more than
    once, the last map.

    Raises netsuke.Error for a name that is no submodule, one that does not run, and one that puts out no map.
    """
    names = list(layers)
    modules = dict(module.named_modules(remove_duplicate=False))
    for name in names:
        if name not in modules:
            close = difflib.get_close_matches(name, modules, n=4, cutoff=0.3)
            raise Error(f"{type(module).__name__} has no layer {name!r}. Close to it: {', '.join(close) or 'none'}")
    made: dict[str, Any] = {}
    handles = [
        modules[name].register_forward_hook(lambda _, __, out, name=name: made.__setitem__(name, out)) for name in names
    ]
    try:
        with evaluating(module), torch.no_grad():
            module(image if image.dim() == 4 else image[None])
    finally:
        for handle in handles:
            handle.remove()
    for name in names:
        out = made.get(name)
        if not isinstance(out, Tensor) or out.dim() != 4:
            what = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else "nothing" if out is None else "no tensor"
            raise Error(f"layer {name!r} puts out {what}, not one map (1, C, H, W)")
    return {name: made[name][0].detach().float().clone() for name in names}
