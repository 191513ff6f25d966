"""A layer as two or three smaller ones, and `netsuke.factorize`: a model with such layers, made without data."""

from __future__ import annotations

import copy
import difflib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error
from netsuke.nn.parallel import unwrapped
from netsuke.nn.targets import Weighted
from netsuke.nn.weights import bake

# Of one layer: an int, the rank of two layers in its place, or (rank of the spatial split, rank of the channels), where
# None splits no channels. Lists in JSON.
Rank = int | tuple[int, int | None]
Ranks = Mapping[str, Any]


def factorize(model: nn.Module, ranks: Ranks) -> nn.Module:
    """A copy of `model` whose layers `ranks` are split in two or three: the structure that `netsuke.low_rank` makes.

    ranks: `netsuke_report.ranks` of that, or what was read from its JSON: {layer: rank}. A rank is d' for a
    convolution or a linear layer of d' outputs, `reduce`, before a 1x1 one with bias, `restore`; or (d'', d') for
    a k x 1 convolution of d'' outputs, `vertical`, a 1 x k one of d', `horizontal`, and `restore`; d' None leaves
    `restore` out. The weights are the nearest ones of these ranks to the model's own, by truncated singular value
    decomposition. To reload a network: `factorize(create(), ranks).load_state_dict(saved)`.

    Raises netsuke.Error for layers that the model lacks or that cannot be split, and for ranks that they cannot have.
    """
    if not isinstance(model, nn.Module) or not isinstance(ranks, Mapping):
        raise Error("factorize takes a torch.nn.Module and {layer: rank}, as netsuke_report.ranks has it")
    made = bake(copy.deepcopy(unwrapped(model)))
    for name, rank in ranks.items():
        layer = find(made, name)
        rank = checked(name, layer, rank)
        made = put(made, layer, nearest(layer, rank))
    return made


def find(model: nn.Module, name: str) -> Weighted:
    """The layer of this name, one that can be split. Raises netsuke.Error where there is none."""
    layers = {own: layer for own, layer in model.named_modules() if isinstance(layer, nn.Module)}
    if name not in layers:
        known = [own for own, layer in layers.items() if not cannot_split(layer)]
        close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.3) or known[:3]
        raise Error(f"ranks names {name!r}, which the model lacks. Close to it: {', '.join(close)}")
    if why := cannot_split(layers[name]):
        raise Error(f"ranks names {name!r}, but {why}")
    return layers[name]  # type: ignore[return-value]


def cannot_split(layer: nn.Module) -> str:
    """Why a layer is never split; empty where it can be."""
    if type(layer) not in (nn.Conv2d, nn.Linear):
        return f"it is a {type(layer).__name__}: only nn.Conv2d and nn.Linear are split"
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        return f"it works in {layer.groups} groups"
    return ""


def checked(name: str, layer: Weighted, rank: Any) -> Rank:
    """`rank` as this layer can have it. Raises netsuke.Error where it cannot."""
    most = len(layer.weight)
    spatial: Any = None
    if isinstance(rank, (list, tuple)) and len(rank) == 2:
        if not spatially(layer):
            raise Error(f"the rank of {name} is {rank!r}: give one number, it is no convolution of a k x k window")
        spatial, rank = rank
        _, c, h, w = layer.weight.shape
        _check(f"the spatial rank of {name}", spatial, min(c * h, most * w))
        if rank is None:
            return spatial, None
    _check(f"the rank of {name}", rank, most)
    return rank if spatial is None else (spatial, rank)


def _check(what: str, rank: Any, most: int) -> None:
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= most:
        raise Error(f"{what} is {rank!r}: give a whole number, 1 to {most}")


def spatially(layer: nn.Module) -> bool:
    """Whether its window can be split into a column and a row."""
    return isinstance(layer, nn.Conv2d) and min(layer.weight.shape[2:]) > 1


def put(model: nn.Module, layer: nn.Module, made: nn.Module) -> nn.Module:
    """Puts `made` wherever the model holds `layer`; returns the model, which is `made` where that was all of it."""
    if layer is model:
        return made
    for name in [name for name, m in model.named_modules(remove_duplicate=False) if m is layer]:
        model.set_submodule(name, made)
    return model


# ------------------------------------------------------------------------------------------------ the parts
def nearest(layer: Weighted, rank: Rank) -> nn.Sequential:
    """The split layer whose weight is nearest to the layer's, of this rank."""
    bias = bias_of(layer)
    if isinstance(rank, int):
        first, filters, channels = None, layer.weight.detach().double().cpu(), rank
    else:
        first, filters = split_window(layer.weight.detach().double().cpu(), rank[0])
        channels = rank[1] if rank[1] is not None else len(filters)
    rows = filters.flatten(1)
    _, vectors = torch.linalg.eigh(rows @ rows.T)
    P = vectors[:, -channels:]
    return assemble(layer, rank, first, filters, P, P.T, bias)


def split_window(weight: Tensor, rank: int, toward: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k x 1 filters (rank, c, k, 1) and 1 x k filters (d, rank, 1, k) whose product is nearest to weight
    (d, c, k, k): the filter reconstruction of Jaderberg et al. 2014, in its closed form.

    toward (d', c, k, k): combinations of the filters, for whose product the k x 1 ones are best instead.
    """
    d, c, h, w = weight.shape
    U, _, _ = torch.linalg.svd(_columns_by_rows(weight if toward is None else toward), full_matrices=False)
    columns = U[:, :rank]
    if columns.shape[1] < rank:  # more than `toward` has use for
        columns = torch.nn.functional.pad(columns, (0, rank - columns.shape[1]))
    rows = columns.T @ _columns_by_rows(weight)
    norm = rows.norm(dim=1)
    root = torch.where(norm > 0, norm, 1.0).sqrt()
    vertical = (columns * root).T.reshape(rank, c, h, 1)
    horizontal = (rows / root[:, None]).reshape(rank, d, 1, w).transpose(0, 1)
    return vertical, horizontal


def window_energies(weight: Tensor) -> Tensor:
    """What each rank of `split_window` holds of a weight (d, c, k, k), the largest first."""
    return torch.linalg.svdvals(_columns_by_rows(weight)).square()


def _columns_by_rows(weight: Tensor) -> Tensor:
    """(c k, d k): a column of an input against a row of an output."""
    d, c, h, w = weight.shape
    return weight.permute(1, 2, 0, 3).reshape(c * h, d * w)


def assemble(
    layer: Weighted, rank: Rank, first: Tensor | None, filters: Tensor, P: Tensor, Q: Tensor, bias: Tensor
) -> nn.Sequential:
    """The layers in place of `layer`, whose outputs are P Q (filters of first of x) + bias.

    first: the k x 1 filters of a spatial split. Two factors share their singular values evenly, so that both train at
    one rate.
    """
    parts: list[tuple[str, Tensor, Tensor | None]] = []
    if first is not None:
        parts.append(("vertical", first, None))
    inner = "reduce" if first is None else "horizontal"
    if isinstance(rank, tuple) and rank[1] is None:
        parts.append((inner, _times(P @ Q, filters), bias))
    else:
        outer, within = _balanced(P, _times(Q, filters))
        parts += [(inner, within, None), ("restore", outer, bias)]
    made: dict[str, nn.Module] = {part: _layer(layer, part, weight, own) for part, weight, own in parts}
    return nn.Sequential(OrderedDict(made)).train(layer.training)


def _times(matrix: Tensor, filters: Tensor) -> Tensor:
    return (matrix @ filters.flatten(1)).view(-1, *filters.shape[1:])


def _balanced(P: Tensor, filters: Tensor) -> tuple[Tensor, Tensor]:
    """The same product of two factors whose singular values are equal."""
    basis, triangle = torch.linalg.qr(P)
    U, S, V = torch.linalg.svd(triangle @ filters.flatten(1), full_matrices=False)
    root = S.sqrt()
    within = torch.zeros(P.shape[1], filters[0].numel(), dtype=P.dtype)  # there may be fewer taps than the rank
    within[: len(root)] = root[:, None] * V
    outer = torch.zeros_like(P)
    outer[:, : len(root)] = basis @ U * root
    return outer, within.view(-1, *filters.shape[1:])


def bias_of(layer: Weighted) -> Tensor:
    """(d,), float64, zeros where it has none."""
    if layer.bias is None:
        return torch.zeros(len(layer.weight), dtype=torch.float64)
    return layer.bias.detach().double().cpu()


def _layer(like: Weighted, part: str, weight: Tensor, bias: Tensor | None) -> Weighted:
    """The part of a split layer with these weights, on the device and of the type of the layer's own."""
    made: Weighted
    if isinstance(like, nn.Linear):
        made = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias is not None)
    else:
        weight = weight if weight.dim() == 4 else weight[:, :, None, None]
        outputs, inputs, *size = weight.shape
        made = nn.utils.skip_init(nn.Conv2d, inputs, outputs, size, bias=bias is not None, **_window(like, part))
    made = made.to(like.weight.device, like.weight.dtype)
    with torch.no_grad():
        made.weight.copy_(weight)
        if bias is not None and made.bias is not None:
            made.bias.copy_(bias)
    return made


def _window(like: nn.Conv2d, part: str) -> dict[str, Any]:
    """How a part of a convolution moves over the map: as the whole one, along both axes or one of them."""
    if part == "restore":
        return {}
    window: dict[str, Any] = {"stride": like.stride, "padding": like.padding, "dilation": like.dilation}
    if part != "reduce":
        axis = ("vertical", "horizontal").index(part)
        for key, still in (("stride", 1), ("padding", 0), ("dilation", 1)):
            if not isinstance(window[key], str):
                window[key] = tuple(v if i == axis else still for i, v in enumerate(window[key]))
    return {**window, "padding_mode": like.padding_mode}
