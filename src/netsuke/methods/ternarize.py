"""`netsuke.ternarize`: weights of three values, two of them trained (Zhu et al. 2017)."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import nn
from torch.nn.utils import parametrize

from netsuke.artifact.contract import Error
from netsuke.nn.targets import chosen, weighted
from netsuke.nn.ternary import Ternary
from netsuke.nn.weights import bake

Values = float | Mapping[str, float]


def ternarize(
    model: nn.Module,
    threshold: Values | None = None,
    sparsity: Values | None = None,
    keep_first: bool = True,
    keep_last: bool = True,
) -> nn.Module:
    """A copy of `model` whose weights are W_p, 0 or -W_n, two numbers a layer that train with the rest: Trained Ternary
    Quantization (Zhu et al. 2017).

    Give at most one of
    threshold: weights within this share of the layer's largest are 0; 0.05 where neither is given, as in the paper.
    sparsity: the share of a layer's weights that are 0 (section 4.1; best between 0.3 and 0.5).
    Either is a number for all convolutions and linear layers, or {shell pattern of layer names: number}; layers that no
    pattern fits are left alone.

    keep_first, keep_last: the first and the last of all convolutions and linear layers, as the module lists them, stay
    float, as the paper means it; the released CIFAR-10 run ternarised its last.

    Train the result in any loop, from trained float weights or from the start. `netsuke.nn.bake` makes plain weights of
    it; `netsuke.export` does that by itself. Raises netsuke.Error for values outside these, patterns that fit nothing,
    and a model in which nothing is left to be ternary.
    """
    if threshold is not None and sparsity is not None:
        raise Error("ternarize takes one of threshold= and sparsity=")
    student = bake(copy.deepcopy(model))
    layers = weighted(student)
    values = chosen(student, sparsity if sparsity is not None else 0.05 if threshold is None else threshold)
    names = list(layers)
    kept = {name for name, keep in ((names[0], keep_first), (names[-1], keep_last)) if keep}
    if not set(values) - kept:
        raise Error(f"nothing in {type(model).__name__} is ternarised: only the first or last layer is named")
    for name, value in values.items():
        if name in kept:
            continue
        weight = layers[name].weight.detach()
        try:
            form = Ternary(weight, None if sparsity is not None else value, value if sparsity is not None else None)
        except Error as error:
            raise Error(f"{name}: {error}") from None
        parametrize.register_parametrization(layers[name], "weight", form)
    return student
