"""What each step of an epilogue becomes: one function a kind, and the table of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from netsuke.artifact.contract import Error
from netsuke.artifact.graph import (
    Add,
    Affine,
    Binarize,
    Clamp,
    Mean,
    Multiply,
    Quantize,
    Sigmoid,
    Step,
    Store,
    ToFixed,
    TwoSlope,
)
from netsuke.onnx.builder import Builder, Tensor
from netsuke.onnx.early import Coding, coding


def affine(build: Builder, step: Affine, y: Tensor) -> Tensor:
    """y * scale + shift, without a factor of 1 or a term of 0."""
    if (step.scale != 1).any():
        y = _op(build, "Mul", y, build.per_channel("scale", step.scale, y), name="scaled")
    if step.shift.any():
        y = _op(build, "Add", y, build.per_channel("shift", step.shift, y), name="shifted")
    return y


def _add(build: Builder, step: Add, y: Tensor) -> Tensor:
    return _op(build, "Add", y, _beside(build, step.value, y), name="sum")


def _multiply(build: Builder, step: Multiply, y: Tensor) -> Tensor:
    """ONNX broadcasts one factor a channel, (N, C, 1, 1), over a map."""
    return _op(build, "Mul", y, _beside(build, step.value, y), name="product")


def _beside(build: Builder, value: int, y: Tensor) -> str:
    """Another value, in the shape that goes with y."""
    other = build.values[value]
    return (build.flat(other) if y.flat else build.map(other, build.kinds[value].shape[0])).name


def _sigmoid(build: Builder, step: Sigmoid, y: Tensor) -> Tensor:
    return _op(build, "Sigmoid", y, name="sigmoid")


def _two_slope(build: Builder, step: TwoSlope, y: Tensor) -> Tensor:
    """Relu, LeakyRelu or PRelu where it is one, which engines fuse; else a choice between both products."""
    if (step.positive == 1).all():
        if not step.negative.any():
            return _op(build, "Relu", y, name="relu")
        if (step.negative == step.negative[0]).all():
            return _op(build, "LeakyRelu", y, name="leaky_relu", alpha=float(step.negative[0]))
        return _op(build, "PRelu", y, build.per_channel("slope", step.negative, y), name="prelu")
    above = _op(build, "Mul", y, build.per_channel("positive", step.positive, y), name="above")
    below = _op(build, "Mul", y, build.per_channel("negative", step.negative, y), name="below")
    which = _op(build, "GreaterOrEqual", y, build.constant("zero", np.float32(0)), name="which")
    return Tensor(build.op("Where", [which.name, above.name, below.name], "two_slope"), y.flat)


def _clamp(build: Builder, step: Clamp, y: Tensor) -> Tensor:
    low, high = step.low, step.high
    if build.unit is not None:
        low, high = (np.rint(end / build.unit).clip(-(2.0**31), 2.0**31 - 1) * build.unit for end in (low, high))
        low, high = low.astype(np.float32), high.astype(np.float32)
    if not low.any() and (step.high == np.finfo(np.float32).max).all():
        return _op(build, "Relu", y, name="relu")
    if (low == low[0]).all() and (high == high[0]).all():
        return _op(build, "Clip", y, build.constant("low", low[0]), build.constant("high", high[0]), name="clip")
    y = _op(build, "Max", y, build.per_channel("low", low, y), name="raised")
    return _op(build, "Min", y, build.per_channel("high", high, y), name="lowered")


def _store(build: Builder, step: Store, y: Tensor) -> Tensor:
    """The float y; or where only its codes are needed later, what they stand for (`early_codes`)."""
    build.values[step.out] = y
    if step.out in build.early:
        made, scale, zero = _codes(build, build.early[step.out], y)
        build.values[step.out] = Tensor(build.op("DequantizeLinear", [made.name, scale, zero], "rounded"), y.flat)
    return y


def _mean(build: Builder, step: Mean, y: Tensor) -> Tensor:
    build.values[step.out] = y if y.flat else _op(build, "GlobalAveragePool", y, name="mean")  # flat: of one pixel
    return y


def _quantize(build: Builder, step: Quantize, y: Tensor) -> Tensor:
    build.values[step.out], _, _ = _codes(build, coding(step), y)
    return y


def _to_fixed(build: Builder, step: ToFixed, y: Tensor) -> Tensor:
    """What the codes stand for: fixed-point nodes become float ones between codes, which engines fuse."""
    made, scale, zero = _codes(build, (1 / step.scale, step.zero, step.bits), y)
    build.values[step.out] = Tensor(build.op("DequantizeLinear", [made.name, scale, zero], "fixed"), y.flat)
    return y


def _codes(build: Builder, code: Coding, y: Tensor) -> tuple[Tensor, str, str]:
    """The codes of y, and the names of their scale and zero. Codes of 4 bits are uint8, cut off above the last one.

    ONNX's scale is 1 / multiplier. Exactly between two codes it rounds to the even multiple of the scale, the file to
    the even code; that differs where `zero` is odd.
    """
    multiplier, zero, bits = code
    number = build.scales.get(np.float32(multiplier))
    if number is None:
        with np.errstate(all="ignore"):
            number = 1 / np.float32(multiplier)
    if not 0 < number < np.inf:
        raise Error(
            f"layer {build.scope!r} quantizes by a multiplier of {multiplier:g}; ONNX has a scale, one over that,\n"
            "which must be a float above 0: quantize the model again"
        )
    if bits == 4:
        highest = build.constant("highest", np.float32(number * np.float32(15 - zero)))
        y = _op(build, "Min", y, highest, name="clipped")
    scale = build.constant("output_scale", number)
    offset = build.constant("output_zero", np.uint8(zero))
    return _op(build, "QuantizeLinear", y, scale, offset, name="codes"), scale, offset


def _binarize(build: Builder, step: Binarize, y: Tensor) -> Tensor:
    """Bits are -1 and +1 in floats; binary convolutions, which `convert` has refused, would read them as they are."""
    thresholds = np.broadcast_to(step.threshold, build.kinds[step.out].shape[:1])
    ones = _op(
        build,
        "LessOrEqual" if step.flip else "GreaterOrEqual",
        y,
        build.per_channel("threshold", thresholds, y),
        name="ones",
    ).name
    plus, minus = (build.constant(name, np.float32(s)) for name, s in (("plus", 1), ("minus", -1)))
    build.values[step.out] = Tensor(build.op("Where", [ones, plus, minus], "signs"), y.flat)
    return y


def _op(build: Builder, kind: str, y: Tensor, *others: Tensor | str, name: str, **attributes: Any) -> Tensor:
    inputs = [y.name, *(other.name if isinstance(other, Tensor) else other for other in others)]
    return Tensor(build.op(kind, inputs, name, **attributes), y.flat)


# A handler adds what a step does and returns y after it; a step that writes puts its value into `build.values`.
STEPS: dict[type[Step], Callable[[Builder, Any, Tensor], Tensor]] = {
    Affine: affine,
    Add: _add,
    Multiply: _multiply,
    Sigmoid: _sigmoid,
    TwoSlope: _two_slope,
    Clamp: _clamp,
    Binarize: _binarize,
    Quantize: _quantize,
    ToFixed: _to_fixed,
    Store: _store,
    Mean: _mean,
}
