"""`netsuke.prune_blocks`: a residual network in, the same with fewer blocks out."""

from __future__ import annotations

import copy
import difflib
import itertools
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netsuke.artifact.contract import Error
from netsuke.nn.parallel import unwrapped


def prune_blocks(model: nn.Module, images: Tensor, count: int, blocks: str) -> nn.Module:
    """A copy of `model` without the `count` blocks that it misses least, nn.Identity standing in their places.

    A layer costs time however narrow it is: where channels alone do not make a deep network fast, blocks do. The
    blocks of a residual network can be left out one by one with little harm (Veit et al. 2016, "Residual Networks
    Behave Like Ensembles of Relatively Shallow Networks"). They go one after another, always the one without which
    the class probabilities move least from the model's own (Kullback-Leibler divergence, mean over the images). Train
    the result on.

    images: normalised training images (N, C, H, W). blocks: shell pattern of the names of modules that may go, as
    "layer*.?"; what gives no tensor of its input's shape stays, as does what has no weights.
    `netsuke.drop_blocks(model, names)` makes the same module again, into which a state_dict can be loaded;
    result.netsuke_dropped is these names, in order.

    Raises netsuke.Error where fewer than `count` blocks may go, or one of them is inside another.
    """
    student = copy.deepcopy(unwrapped(model)).eval()
    found = _candidates(student, images, blocks)
    if not 0 <= count <= len(found):
        raise Error(f"count is {count}: {len(found)} modules named {blocks!r} give maps of their input's shape")
    wanted = _log_probabilities(student, images)
    dropped: list[str] = []
    for _ in range(count):
        moved: dict[str, float] = {}
        for name in found:
            block = student.get_submodule(name)
            student.set_submodule(name, nn.Identity())
            moved[name] = _divergence(wanted, _log_probabilities(student, images))
            student.set_submodule(name, block)
        least = min(found, key=lambda name: moved[name])
        student.set_submodule(least, nn.Identity())
        found.remove(least)
        dropped.append(least)
    result = drop_blocks(model, dropped)
    result.netsuke_dropped = dropped  # type: ignore[assignment]
    return result


def drop_blocks(model: nn.Module, names: Iterable[str]) -> nn.Module:
    """A copy of `model` with nn.Identity in place of the modules `names`. Raises netsuke.Error for one it lacks."""
    student = copy.deepcopy(unwrapped(model))
    for name in names:
        known = [known for known, _ in student.named_modules() if known]
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known[:3]
            raise Error(f"the model has no module {name!r}. Close to it: {', '.join(close)}")
        student.set_submodule(name, nn.Identity())
    return student


def _candidates(model: nn.Module, images: Tensor, pattern: str) -> list[str]:
    """Names of the modules that fit, run once, and keep the shape of what they are given."""
    kept: dict[str, bool] = {}
    modules = {name: m for name, m in model.named_modules() if name and fnmatchcase(name, pattern)}
    hooks = []
    for name, module in modules.items():

        def note(_: nn.Module, given: tuple[Any, ...], made: Any, name: str = name) -> None:
            tensors = len(given) == 1 and isinstance(given[0], Tensor) and isinstance(made, Tensor)
            kept[name] = name not in kept and tensors and given[0].shape == made.shape

        hooks.append(module.register_forward_hook(note))
    try:
        with torch.no_grad():
            model(images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    found = [name for name, module in modules.items() if kept.get(name) and next(module.parameters(), None) is not None]
    for outer, inner in itertools.permutations(found, 2):
        if inner.startswith(f"{outer}."):
            raise Error(f"blocks={pattern!r} names {outer} and {inner} inside it: give a pattern of one of them")
    return found


def _log_probabilities(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([F.log_softmax(model(batch), 1).double() for batch in images.split(64)])


def _divergence(wanted: Tensor, found: Tensor) -> float:
    return float(F.kl_div(found, wanted, reduction="batchmean", log_target=True))
