"""`netsuke.prune_channels`: a model in, the same model with fewer channels out, a smaller and faster one everywhere."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from netsuke.artifact.contract import Error, first_line
from netsuke.methods.calibration import batches
from netsuke.methods.channels import OUTPUT, Follower, Product, follow
from netsuke.methods.importance import IMPORTANCES, Loss, batch_norm_scales, filter_norms, taylor
from netsuke.methods.report import Channels, ChannelsReport, PrunedLayer
from netsuke.methods.skip import Skip, skipper
from netsuke.nn.modes import evaluating
from netsuke.nn.parallel import unwrapped

# Of max |output|, between the pruned module and the model that ignores the lost channels, in float64: sums in other
# orders.
TOLERANCE = 1e-9


def prune_channels(
    model: nn.Module,
    example_input: Tensor | tuple[Any, ...],
    macs: float = 0.5,
    importance: str = "l2",
    calibration: Any = None,
    skip: Skip = (),
    multiple_of: int = 8,
    minimum: float = 0.1,
    loss: Loss = F.cross_entropy,
    reset_batch_norm: bool = False,
) -> nn.Module:
    """A copy of `model` with its least important channels taken out: an ordinary module whose layers are smaller, under
    the same names, and so take fewer multiply-accumulates in any runtime. Train it on to win back what was lost.

    model: any module that torch.export can follow; it is left alone. example_input: images (N, C, H, W) of the size to
    run at, or a tuple with all arguments of the forward. macs: the share of the multiply-accumulates of convolutions
    and linear layers that may remain, above 0 to 1. Channels that are added up (residual stages, also over shortcuts
    that pad with zeros), multiplied (gates) or read by depthwise layers go together. The model's outputs stay.

    importance: "l1" or "l2", norms of filters over the mean of their layer (Li et al. 2017, section 3.1); "batch_norm",
    the magnitudes of its scales (Liu et al. 2017, section 3), for models trained with a penalty on them; "taylor", how
    the loss changes to first order (Molchanov et al. 2019, section 3), on images that the model still gets wrong at
    times. All channels are ranked together, in chunks of `multiple_of` channels that are in the same places, by the
    mean of a chunk; the least go until `macs` is met. multiple_of: groups of such channels keep a multiple of this, and
    narrower ones stay whole. minimum: the least share that a group keeps. skip: names of layers, or of blocks that
    hold them, or a function (name, layer) -> bool: they keep their outputs.

    calibration: (images, labels), or an iterable of such batches, for "taylor" with `loss`: (outputs, labels) ->
    scalar. With reset_batch_norm, running statistics are taken anew from the calibration images, for which no labels
    are needed: it wins back a part at once.

    The same arguments give the same channels. `result.netsuke_report` (a ChannelsReport) says what remains of each
    layer, which stayed whole and why; its `channels` can be written as JSON, and `netsuke.shrink(model, channels)`
    makes the same module of them, into which a state_dict can be loaded.

    Before it is returned the result is run on the example in float64, where it must say what the model says when
    nothing reads the lost channels.

    Raises netsuke.Error for bad arguments, a model that fails on the example or that torch.export cannot follow, and
    where so few multiply-accumulates cannot be reached.
    """
    _check_arguments(model, macs, importance, calibration, multiple_of, minimum, reset_batch_norm)
    model = unwrapped(model)
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    if not any(isinstance(x, Tensor) and x.numel() for x in inputs):
        raise Error("example_input must be one batch of images (N, C, H, W), or a tuple of the forward's arguments")
    if isinstance(calibration, Iterator):  # it is read more than once
        calibration = list(calibration)
    still = _copy(model, "prune_channels").eval()
    skipped = skipper(still, skip)
    for trusting in (True, False):
        follower = follow(still, inputs, trusting)
        if not follower.products:
            raise Error(f"{type(model).__name__} runs no convolution or linear layer: there is nothing to prune")
        scores = _scores(follower, still, importance, calibration, loss)
        groups, why = _groups(follower, still, scores, skipped, multiple_of, minimum)
        gone = _choose(follower, groups, macs, why)
        report = _report(follower, still, gone, why, importance)
        pruned = shrink(model, report.channels)
        if _agree(still, pruned, follower, gone, inputs):
            break
    else:
        raise Error(
            f"the forward of {type(model).__name__} depends on its numbers of channels in a way that is not followed: "
            "compute them from shapes, as in x.flatten(1), or skip= the layers before that place"
        )
    if reset_batch_norm:
        _reset_batch_norm(pruned, calibration)
    pruned.netsuke_report = report  # type: ignore[assignment]
    return pruned


def shrink(model: nn.Module, channels: Channels) -> nn.Module:
    """A copy of `model` that keeps only these channels: what `prune_channels` made of a model of this architecture.

    channels: `netsuke_report.channels` of that, or what was read from its JSON. The copy has the model's own weights in
    the places that remain. To reload a pruned network: `shrink(create(), channels).load_state_dict(saved)`.

    Raises netsuke.Error where the model lacks a parameter or a channel that is named.
    """
    pruned = _copy(unwrapped(model), "shrink")
    named: dict[str, Tensor] = {
        **dict(pruned.named_parameters(remove_duplicate=False)),
        **dict(pruned.named_buffers(remove_duplicate=False)),
    }
    smaller: dict[int, Tensor] = {}
    try:
        for name, kept in channels["tensors"].items():
            if name not in named:
                raise Error(f"channels are of another model: {type(model).__name__} has no {name!r}")
            old = named[name]
            new = old.detach()
            for dim, indices in kept.items():
                if not indices or max(indices) >= new.shape[int(dim)] or min(indices) < 0:
                    raise Error(f"channels are of another model: {name!r} has shape {tuple(old.shape)} here")
                new = new.index_select(int(dim), torch.tensor(indices, device=new.device))
            smaller[id(old)] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
        for name, amounts in channels["paddings"].items():
            padded: Any = pruned.get_submodule(name)
            padded.channel_padding = tuple(amounts)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise Error(f"channels must be those of a netsuke_report, of the same model: {first_line(error)}") from error
    for module in pruned.modules():
        own: list[dict[str, Any]] = [module._parameters, module._buffers]
        found = [(held, key) for held in own for key, value in held.items() if id(value) in smaller]
        for held, key in found:
            held[key] = smaller[id(held[key])]
        if found:
            _tell_sizes(module)
    return pruned


def _tell_sizes(module: nn.Module) -> None:
    """A layer's attributes say what its parameters are."""
    if isinstance(module, _ConvNd):
        outputs, reads = module.weight.shape[:2]
        if module.groups > 1 and module.groups == module.in_channels:
            module.groups = module.in_channels = outputs // (module.out_channels // module.groups)
        else:
            module.in_channels = reads * module.groups
        module.out_channels = outputs
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _BatchNorm):
        size = next(t for t in (module.weight, module.running_mean) if t is not None)
        module.num_features = len(size)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)


# -------------------------------------------------------------------------------------------------- choosing
@dataclass(frozen=True)
class _Group:
    """Channels that are in the same places of the network, so that which of them goes is a matter of importance alone.
    roots: least important first. chunks: how many go at a time. scores: of each chunk."""

    roots: list[int]
    chunks: list[int]
    scores: list[float]


def _scores(follower: Follower, model: nn.Module, importance: str, calibration: Any, loss: Loss) -> dict[int, float]:
    if importance == "taylor":
        scores = taylor(follower, model, _labelled(calibration), loss)
    elif importance == "batch_norm":
        scores = batch_norm_scales(follower, model)
    else:
        scores = filter_norms(follower, model, int(importance[1:]))
    if not np.isfinite(list(scores.values())).all():
        raise Error(f"importance {importance!r} is not finite for some channels: a weight or an image is damaged")
    return scores


def _groups(
    follower: Follower, model: nn.Module, scores: dict[int, float], skipped: Any, multiple_of: int, minimum: float
) -> tuple[list[_Group], dict[int, str]]:
    """What may go, and root -> why it may not."""
    for product in follower.products:
        if skipped(product.name, model.get_submodule(product.name) if product.name else model):
            follower.hold(product.outputs, "told to skip it")
    why = follower.held()
    places: dict[int, set[tuple[int, str]]] = {}
    for index, product in enumerate(follower.products):
        for side, labels in (("outputs", product.outputs), ("inputs", product.inputs)):
            for root in set(follower.roots(labels).tolist()):
                places.setdefault(root, set()).add((index, side))
    members: dict[frozenset[tuple[int, str]], list[int]] = {}
    for root in sorted(places):
        if root not in why and root not in scores:
            why[root] = "nothing that measures its importance"
        if root not in why:
            members.setdefault(frozenset(places[root]), []).append(root)
    groups = []
    for roots in members.values():
        least = multiple_of * ceil(max(minimum * len(roots), 1) / multiple_of)
        if len(roots) <= least:
            why |= dict.fromkeys(roots, f"{len(roots)} channels that go together: at least {least} remain")
            continue
        roots.sort(key=lambda root: (scores[root], root))
        chunks, left = [], len(roots)
        while left > least:
            chunks.append(left % multiple_of or min(multiple_of, left - least))
            left -= chunks[-1]
        ends = np.cumsum(chunks)
        means = [float(np.mean([scores[r] for r in roots[end - n : end]])) for end, n in zip(ends, chunks, strict=True)]
        groups.append(_Group(roots, chunks, means))
    return groups, why


def _choose(follower: Follower, groups: list[_Group], macs: float, why: dict[int, str]) -> set[int]:
    """The roots that go: chunks from the front of the ranking until at most `macs` of the work is left. The last of
    them may save more than was asked, so then those come back, from the end of the ranking, for which there is room.
    """
    ranking = sorted(
        (score, g, chunk) for g, group in enumerate(groups) for chunk, score in enumerate(group.scores)
    )  # within a group scores ascend, so that its chunks come in order
    work = _Work(follower, follower.products)
    budget = macs * work(set())

    def first(count: int) -> list[int]:
        taken = [0] * len(groups)
        for _, g, _chunk in ranking[:count]:
            taken[g] += 1
        return taken

    def gone(taken: list[int]) -> set[int]:
        return {root for group, n in zip(groups, taken, strict=True) for root in group.roots[: sum(group.chunks[:n])]}

    low, high = 0, len(ranking)
    if (least := work(gone(first(high)))) > budget:
        roots = (root for product in follower.products for root in follower.roots(product.outputs).tolist())
        reasons = dict.fromkeys(why.get(root, "the minimum") for root in roots)
        some = "; ".join(reason for reason in reasons if reason != OUTPUT or len(reasons) == 1)
        raise Error(f"macs={macs:g} cannot be reached, {least * macs / budget:.3f} can. What stays whole: {some[:300]}")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if work(gone(first(middle))) <= budget else (middle + 1, high)
    taken = first(low)
    for _, g, chunk in reversed(ranking[:low]):
        if chunk == taken[g] - 1:
            taken[g] -= 1
            taken[g] += work(gone(taken)) > budget
    return gone(taken)


class _Work:
    """Multiply-accumulates of one image in `products` without the channels of some roots."""

    def __init__(self, follower: Follower, products: Iterable[Product]) -> None:
        self._sides = [(p, follower.roots(p.outputs), follower.roots(p.inputs)) for p in products]
        self._size = max((int(max(out.max(), into.max())) + 1 for _, out, into in self._sides), default=0)

    def __call__(self, gone: set[int]) -> int:
        there = np.ones(self._size, bool)
        there[[root for root in gone if root < self._size]] = False
        total = 0
        for product, outputs, inputs in self._sides:
            reads = 1 if product.depthwise else int(there[inputs].sum()) // product.groups
            total += product.per_pair * int(there[outputs].sum()) * reads
        return total


# ------------------------------------------------------------------------------------------------- reporting
def _report(
    follower: Follower, model: nn.Module, gone: set[int], why: dict[int, str], importance: str
) -> ChannelsReport:
    report = ChannelsReport(importance, _kept_channels(follower, gone))
    by_name: dict[str, list[Product]] = {}
    for product in follower.products:
        by_name.setdefault(product.name, []).append(product)
    for name, products in by_name.items():
        outputs, inputs = follower.roots(products[0].outputs), follower.roots(products[0].inputs)
        work = _Work(follower, products)
        kind = type(model.get_submodule(name)).__name__
        into, out = ((len(r), sum(root not in gone for root in r.tolist())) for r in (inputs, outputs))
        report.layers.append(PrunedLayer(name, kind, into, out, (work(set()), work(gone))))
        reasons = [why[root] for root in outputs.tolist() if root in why]
        if len(reasons) == len(outputs):
            report.skipped.append((name, "; ".join(dict.fromkeys(reasons))))
    for name, module in model.named_modules():
        if isinstance(module, (_ConvNd, nn.Linear)) and name not in by_name:
            report.skipped.append((name, "it is not seen to run on the example input"))
    return report


def _kept_channels(follower: Follower, gone: set[int]) -> Channels:
    tensors: dict[str, dict[str, list[int]]] = {}
    for name, alongs in follower.labels.items():
        for dim, along in enumerate(alongs):
            if isinstance(along, np.ndarray):
                kept = [i for i, root in enumerate(follower.roots(along).tolist()) if root not in gone]
                if len(kept) < len(along):
                    tensors.setdefault(name, {})[str(dim)] = kept
    paddings = {}
    for name, sides in follower.pads.items():
        left = [sum(root not in gone for root in follower.roots(side).tolist()) for side in sides]
        if left != [len(side) for side in sides]:
            paddings[name] = left
    return {"tensors": tensors, "paddings": paddings}


# -------------------------------------------------------------------------------------------------- checking
def _agree(model: nn.Module, pruned: nn.Module, follower: Follower, gone: set[int], inputs: tuple[Any, ...]) -> bool:
    """Whether `pruned` gives what `model` gives where nothing reads the lost channels, in float64."""

    def double(module: nn.Module) -> nn.Module:
        return copy.deepcopy(module).eval().double()

    masked = double(model)
    for product in follower.products:
        if not product.depthwise:
            lost = [i for i, root in enumerate(follower.roots(product.inputs).tolist()) if root in gone]
            with torch.no_grad():
                masked.get_parameter(product.weight)[:, lost] = 0
    exact = tuple(x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs)
    with torch.no_grad():
        expected = torch.utils._pytree.tree_leaves(masked(*exact))
        try:
            got = torch.utils._pytree.tree_leaves(double(pruned)(*exact))
        except Exception:  # a forward that has numbers of channels in it fails in any way it likes
            return False
    if len(expected) != len(got):
        return False
    return all(_close(a, b) for a, b in zip(expected, got, strict=True))


def _close(expected: Any, got: Any) -> bool:
    if not isinstance(expected, Tensor) or not isinstance(got, Tensor) or expected.numel() == 0:
        return True
    scale = max(float(expected.abs().max()), 1e-30)
    return expected.shape == got.shape and torch.allclose(expected, got, rtol=0, atol=TOLERANCE * scale, equal_nan=True)


def _check_arguments(
    model: Any, macs: Any, importance: Any, calibration: Any, multiple_of: Any, minimum: Any, reset: bool
) -> None:
    if not isinstance(model, nn.Module):
        raise Error(f"prune_channels takes a torch.nn.Module, not a {type(model).__name__}")
    if not _is_number(macs) or not 0 < macs <= 1:
        raise Error(f"macs is {macs!r}: give the share of multiply-accumulates that may remain, above 0 to 1, as 0.5")
    if importance not in IMPORTANCES:
        raise Error(f"importance is {importance!r}: use one of {', '.join(IMPORTANCES)}")
    if not isinstance(multiple_of, int) or isinstance(multiple_of, bool) or multiple_of < 1:
        raise Error(f"multiple_of is {multiple_of!r}: give a whole number of channels, 1 or more")
    if not _is_number(minimum) or not 0 <= minimum <= 1:
        raise Error(f"minimum is {minimum!r}: give the least share of a layer's channels that remains, 0 to 1")
    if calibration is None and (importance == "taylor" or reset):
        what = "importance 'taylor' needs calibration=(images, labels)" if importance == "taylor" else ""
        raise Error(what or "reset_batch_norm needs calibration=images, a few hundred normalised training images")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _copy(model: nn.Module, who: str) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise Error(f"{who} takes a torch.nn.Module, not a {type(model).__name__}")
    try:
        return copy.deepcopy(model)
    except Exception as error:  # a user's module may refuse to be copied in any way it likes
        raise Error(
            f"{type(model).__name__} cannot be copied ({first_line(error)}): {who} works on a copy of it"
        ) from error


# ----------------------------------------------------------------------------------------------- calibration
def _labelled(calibration: Any) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in batches(calibration):
        if len(batch) != 2:
            raise Error("importance 'taylor' needs calibration=(images, labels): there are no labels in it")
        yield batch[0], batch[1]


def _reset_batch_norm(model: nn.Module, calibration: Any) -> None:
    """Running statistics anew, each the mean over all calibration batches."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain mean
    try:
        with evaluating(model), torch.no_grad():
            for norm in norms:
                norm.train()
            for images, *_ in batches(calibration):
                model(images)
    except Error:
        raise
    except Exception as error:
        raise Error(f"{type(model).__name__} fails on the calibration images: {first_line(error)}") from error
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
