"""`netsuke.binarize`: a float model in, the same model with one-bit layers out, started from data."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from netsuke.artifact.contract import Error, first_line
from netsuke.methods.adabin import ADABIN
from netsuke.methods.method import Method
from netsuke.methods.relus import make_two_sided
from netsuke.methods.report import BinarizedLayer, BinarizeReport
from netsuke.methods.skip import Skip, skipper
from netsuke.nn import BinaryConv2d, BinaryLinear
from netsuke.nn.parallel import unwrapped

METHODS: dict[str, Method] = {method.name: method for method in [ADABIN]}


def binarize(
    model: nn.Module,
    method: str | Method = "adabin",
    calibration: Tensor | tuple[Any, ...] | None = None,
    skip: Skip = (),
    keep_first: bool = True,
    keep_last: bool = True,
) -> nn.Module:
    """A copy of `model` whose convolutions and linear layers hold one bit a weight and read one bit an activation.

    model: any module; it is left alone. method: a name in METHODS, in any case, or a Method. calibration: a batch of
    typical inputs (N, C, H, W), or a tuple with all arguments of the forward; thresholds and scales start from it,
    layer by layer in running order, so that later layers see what earlier binarized ones make of it. skip: names of
    layers, or of blocks that hold them, or a function (name, layer) -> bool. keep_first, keep_last: the first and last
    of the layers, in running order, stay float.

    Returns an ordinary trainable module: surviving parameters keep their names, added ones sit under the replaced
    layer's name. Where functional ReLUs were replaced it is a torch.fx.GraphModule, which keeps the model's parameters
    and forward and none of its other methods. `result.netsuke_report` (a BinarizeReport) says what changed, what did
    not, and why.

    Train it as any module. Before each epoch call netsuke.nn.progressive(result, epoch / epochs), which sharpens the
    estimators. Before the first, call netsuke.export once: so you learn at once whether it can be exported. To reload a
    state_dict, binarize the same model again, with the same arguments, and load it into the result.

    Raises netsuke.Error where the model fails on the batch, a name to skip does not exist, or nothing can be binarized.
    """
    chosen_method = _method(method)
    if not isinstance(model, nn.Module):
        raise Error(f"binarize takes a torch.nn.Module, not a {type(model).__name__}")
    model = unwrapped(model)
    inputs = calibration if isinstance(calibration, tuple) else (calibration,)
    if calibration is not None and not isinstance(calibration, (Tensor, tuple)):
        raise Error(
            f"calibration is a {type(calibration).__name__}: it must be a torch Tensor, a batch of typical inputs "
            "(N, C, H, W)"
        )
    if not inputs or not isinstance(inputs[0], Tensor) or inputs[0].numel() == 0:
        raise Error("binarize needs calibration=images, a batch of typical inputs: thresholds start from the data")
    try:
        student = copy.deepcopy(model).eval()
    except Exception as error:  # a user's module may refuse to be copied in any way it likes
        raise Error(
            f"{type(model).__name__} cannot be copied ({first_line(error)}): binarize works on a copy of it"
        ) from error
    report = BinarizeReport(chosen_method.name)
    with torch.no_grad():
        order, runs = _running_order(student, inputs)
        names = _choose(student, order, runs, chosen_method, skipper(student, skip), keep_first, keep_last, report)
        example = tuple(i[:1] if isinstance(i, Tensor) and i.dim() else i for i in inputs)
        student = make_two_sided(student, example, set(names), chosen_method.nonlinearity, report)
        for name in names:
            layer: Any = student.get_submodule(name)
            student.set_submodule(name, chosen_method.convert(layer))
        _calibrate(student, names, inputs, report)
    student.train(model.training)
    student.netsuke_report = report  # type: ignore[assignment]
    return student


def _method(method: str | Method) -> Method:
    if isinstance(method, Method):
        return method
    if not isinstance(method, str):
        hint = ". Pass the batch by name: calibration=images" if isinstance(method, (Tensor, tuple, list)) else ""
        raise Error(f"method is the name of a method, such as 'adabin', not a {type(method).__name__}{hint}")
    if method.lower() not in METHODS:
        close = difflib.get_close_matches(method.lower(), METHODS, n=3, cutoff=0.0)
        raise Error(f"no method is named {method[:40]!r}: use one of {', '.join(close)}")
    return METHODS[method.lower()]


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    return {n: m for n, m in model.named_modules() if isinstance(m, (_ConvNd, nn.Linear))}


def _running_order(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[list[str], dict[str, int]]:
    """Names of the layers in the order in which they first run, and how often each runs."""
    runs: dict[str, int] = {}

    def count(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            runs[name] = runs.get(name, 0) + 1

        return hook

    handles = [layer.register_forward_pre_hook(count(name)) for name, layer in _layers(model).items()]
    try:
        model(*inputs)
    except Exception as error:
        raise Error(f"{type(model).__name__} fails on the calibration batch: {first_line(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
    return list(runs), runs


def _choose(
    model: nn.Module,
    order: list[str],
    runs: dict[str, int],
    method: Method,
    skip: Callable[[str, nn.Module], bool],
    keep_first: bool,
    keep_last: bool,
    report: BinarizeReport,
) -> list[str]:
    layers = _layers(model)
    chosen = []
    for name in [*order, *(n for n in layers if n not in runs)]:
        if skip(name, layers[name]):
            why = "told to skip it"
        elif name not in runs:
            why = "it never runs on the calibration batch"
        elif keep_first and name == order[0]:
            why = "the first layer"
        elif keep_last and name == order[-1]:
            why = "the last layer"
        elif runs[name] > 1:
            why = f"shared: it runs {runs[name]} times, on inputs that differ"
        elif not name:
            why = "the model itself is one layer"
        else:
            why = method.why_not(layers[name])
        if why:
            report.skipped.append((name, why))
        else:
            chosen.append(name)
    if not chosen:
        reasons = "; ".join(f"{name or 'the model'}: {why}" for name, why in report.skipped[:3]) or "it has no layers"
        raise Error(f"nothing in {type(model).__name__} can be binarized ({reasons})")
    return chosen


def _calibrate(model: nn.Module, names: list[str], inputs: tuple[Any, ...], report: BinarizeReport) -> None:
    """One run over the batch: each layer starts from its input, and what it makes of it is the next one's input."""
    made: dict[str, BinarizedLayer] = {}

    def start(name: str, layer: Any) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0]
            layer.binary_a.calibrate(x)
            threshold, alpha, _gamma = layer.binary_a.constants()
            t = threshold.view((1, -1) + (1,) * (x.dim() - 2))
            ones = float((x >= t if alpha > 0 else x <= t).float().mean())
            kind = f"{type(layer).__name__} {tuple(layer.weight.shape)}"
            made[name] = BinarizedLayer(name, kind, float(threshold.float().mean()), alpha, ones)

        return hook

    handles = []
    for name in names:
        layer = model.get_submodule(name)
        assert isinstance(layer, (BinaryConv2d, BinaryLinear))
        handles.append(layer.register_forward_pre_hook(start(name, layer)))
    try:
        model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    report.layers = [made[name] for name in names]
