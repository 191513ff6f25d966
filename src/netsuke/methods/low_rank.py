"""`netsuke.low_rank`: convolutions and linear layers as products of smaller ones (Zhang et al. 2016)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from netsuke.artifact.contract import Error, first_line
from netsuke.methods.factors import Rank, assemble, bias_of, checked, find, nearest, put, split_window
from netsuke.methods.plan import Plan, inside, layer_macs
from netsuke.methods.reconstruct import Fit, error, linear, nonlinear
from netsuke.methods.report import LowRankLayer, LowRankReport
from netsuke.methods.responses import Responses
from netsuke.methods.skip import Skip
from netsuke.nn.modes import evaluating
from netsuke.nn.parallel import unwrapped
from netsuke.nn.weights import bake

RECONSTRUCTIONS = ("linear", "nonlinear", "asymmetric", "3d")


def low_rank(
    model: nn.Module,
    calibration: Any,
    speedup: float = 4.0,
    reconstruction: str = "asymmetric",
    linear_speedup: float = 1.0,
    skip: Skip = (),
    ranks: Mapping[str, Any] | None = None,
    samples: int = 10,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> nn.Module:
    """A copy of `model` whose convolutions are split into cheaper ones that give nearly the same responses (Zhang, Zou,
    He, Sun 2016, "Accelerating Very Deep Convolutional Networks for Classification and Detection"). Train it on to win
    back what was lost.

    A k x k convolution of c inputs and d outputs, y = W x, becomes one of d' outputs and a 1x1 one behind it, P (Q W) x
    + b, of d'(k k c + d) multiply-accumulates a pixel. model: any module; it is left alone. calibration: normalised
    training images (N, C, H, W), or an iterable of batches of them, best a few thousand; of each, `samples` places on
    the map of a layer are looked at, drawn by `seed`. Batch norm behind a convolution counts as a part of it.

    reconstruction: what P, Q and b minimise, over these places:
    "linear": ||y - (M y + b)||^2, M = P Q, layer by layer ("Low-Rank Approximation of Responses").
    "nonlinear": ||r(y) - r(M y + b)||^2 with the ReLU r behind the layer. Where another thing stands there, as the
    addition in a residual block, the fit is linear, and the report says so.
    "asymmetric": ||r(W x) - r(M W x' + b)||^2, x' from the layers before as they are approximated, x from the model.
    "3d": the window is split too, into k x 1 of d'' outputs and 1 x k of d' ("Asymmetric (3d)"); fitted as above.

    speedup: how many times fewer multiply-accumulates all convolutions together have, those that stay whole counted;
    1 leaves them alone. Ranks are chosen for it by the energy of the principal components of the responses, and a
    layer that no lower rank makes cheaper stays whole. linear_speedup: the same for linear layers, counted apart, by
    truncated singular value decomposition of their weights. skip: names of layers or of blocks that hold them, or a
    function (name, layer) -> bool: they stay whole. ranks: {layer: rank} instead of all these, as `netsuke.factorize`
    has them. progress: called with the name of each layer before it is fitted.

    The same arguments give the same network, but for rounding. `result.netsuke_report` (a LowRankReport) says what
    became of each layer; `netsuke.factorize(model, netsuke_report.ranks)` makes the same structure without data, into
    which a state_dict can be loaded.

    Raises netsuke.Error for bad arguments, images that are too few, damaged, or that the model fails on, a model with
    nothing to split, and a speedup that cannot be reached.
    """
    _check_arguments(model, speedup, reconstruction, linear_speedup, samples, ranks)
    student = _copy(model)
    training = {name: layer.training for name, layer in student.named_modules()}
    seen = Responses(calibration, samples, seed)
    with evaluating(student), torch.no_grad():
        plan = Plan(student, seen, skip, lambda name: speedup > 1 if ranks is None else name in ranks)
        if ranks is None:
            chosen = plan.linears(linear_speedup) | plan.convolutions(speedup, reconstruction == "3d")
        else:
            chosen = {name: checked(name, find(student, name), rank) for name, rank in ranks.items()}
            plan.check(chosen)
        if not chosen:
            raise Error(f"nothing in {type(model).__name__} is split: ask for a speedup above 1, or for ranks")
        if reconstruction != "3d" and any(isinstance(rank, tuple) for rank in chosen.values()):
            raise Error("a rank of two numbers splits the window too: that is reconstruction='3d'")
        job = _Job(copy.deepcopy(student), student, plan, seen, reconstruction)
        for name in [name for name in plan.macs if name in chosen]:
            if progress is not None:
                progress(name)
            job.split(name, chosen[name])
        report: Any = job.report()
    for name in chosen:
        job.student.get_submodule(name).train(training[name])
    job.student.netsuke_report = report
    return job.student


class _Job:
    """A network on its way: `student` is `original` with more and more of its layers split."""

    def __init__(
        self, original: nn.Module, student: nn.Module, plan: Plan, seen: Responses, reconstruction: str
    ) -> None:
        self.original, self.student = original, student
        self._plan, self._seen, self._reconstruction = plan, seen, reconstruction
        self._done: list[LowRankLayer] = []

    def split(self, name: str, rank: Rank) -> None:
        layer: Any = self.student.get_submodule(name)
        if isinstance(layer, nn.Linear):
            assert isinstance(rank, int)
            self._put(layer, nearest(layer, rank))
            self._done.append(LowRankLayer(name, rank, len(layer.weight), self._plan.energy(name, rank), "weights"))
        else:
            self._split(name, layer, rank)

    def _put(self, layer: nn.Module, made: nn.Module) -> None:
        self.student = put(self.student, layer, made)

    def _split(self, name: str, layer: nn.Conv2d, rank: Rank) -> None:
        stands = self._plan.behind[name]
        # From here on the batch norm behind it is a part of the layer, as in a network that is run.
        filters = stands.scale.view(-1, 1, 1, 1) * layer.weight.detach().double().cpu()
        bias = stands.scale * bias_of(layer) + stands.shift
        unscale = torch.where(stands.scale != 0, 1 / stands.scale, 0.0)
        first, now = None, cast("nn.Module", layer)

        def part(rank: Rank, fit: Fit) -> nn.Sequential:
            made_bias = fit.P @ (fit.Q @ bias) + fit.b
            P = fit.P * unscale[:, None]
            return assemble(layer, rank, first, filters, P, fit.Q, (made_bias - stands.shift) * unscale)

        if isinstance(rank, tuple):
            first, filters = split_window(filters, rank[0], self._plan.filters(name, rank[1]))
            one = torch.eye(len(bias), dtype=torch.float64)
            now = part((rank[0], None), Fit(one, one, torch.zeros_like(bias)))
            self._put(layer, now)
        T = stands.scale * self._seen.of(self.original, name, self.original.get_submodule(name)) + stands.shift
        Y = T
        if self._reconstruction in ("asymmetric", "3d"):
            Y = stands.scale * self._seen.of(self.student, name, now) + stands.shift
        curved = stands.relu and self._reconstruction != "linear"
        channels = rank if isinstance(rank, int) else rank[1] or len(bias)
        fit = (nonlinear if curved else linear)(T, Y, channels)
        self._put(now, part(rank, fit))
        whole = error(T, torch.zeros_like(T), stands.relu)
        self._done.append(
            LowRankLayer(
                name, rank, len(bias), self._plan.energy(name, channels), "nonlinear" if curved else "linear",
                error(T, fit(Y), stands.relu) / whole if whole else 0.0,
                note="" if curved or self._reconstruction == "linear" else stands.why,
            )
        )  # fmt: skip

    def report(self) -> LowRankReport:
        before, after = self._plan.macs, layer_macs(self.student, self._seen)
        for done in self._done:
            done.macs = before[done.name], sum(n for name, n in after.items() if inside(name, done.name))
        return LowRankReport(
            self._reconstruction,
            {done.name: list(done.rank) if isinstance(done.rank, tuple) else done.rank for done in self._done},
            (self._plan.total(before, _ConvNd), self._plan.total(after, _ConvNd)),
            (self._plan.total(before, nn.Linear), self._plan.total(after, nn.Linear)),
            self._done,
            self._plan.skipped,
        )


def _check_arguments(
    model: Any, speedup: Any, reconstruction: Any, linear_speedup: Any, samples: Any, ranks: Any
) -> None:
    if not isinstance(model, nn.Module):
        raise Error(f"low_rank takes a torch.nn.Module, not a {type(model).__name__}")
    if reconstruction not in RECONSTRUCTIONS:
        raise Error(f"reconstruction is {reconstruction!r}: use one of {', '.join(RECONSTRUCTIONS)}")
    for name, value in (("speedup", speedup), ("linear_speedup", linear_speedup)):
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 1 <= value < float("inf"):
            raise Error(f"{name} is {value!r}: give how many times fewer multiply-accumulates, 1 or more, as 4.0")
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise Error(f"samples is {samples!r}: give how many places of each image are looked at, 1 or more")
    if ranks is not None and not isinstance(ranks, Mapping):
        raise Error("ranks is {layer: rank}, as netsuke_report.ranks has it")


def _copy(model: nn.Module) -> nn.Module:
    try:
        return bake(copy.deepcopy(unwrapped(model)))
    except Exception as error:  # a user's module may refuse to be copied in any way it likes
        raise Error(
            f"{type(model).__name__} cannot be copied ({first_line(error)}): low_rank works on a copy of it"
        ) from error
