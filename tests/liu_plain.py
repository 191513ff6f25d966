"""Bi-Real Net and ReActNet as their published PyTorch code computes them, from its state dicts: plain functions.

Written from github.com/liuzechun/Bi-Real-net and ReActNet, whose straight-through estimators are sums of detached
tensors. A `State` notes which tensors a forward reads.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

WIDTHS_A = [32, 64, *[128] * 2, *[256] * 2, *[512] * 6, *[1024] * 2]


class State:
    def __init__(self, tensors: Mapping[str, Tensor], training: bool = False) -> None:
        self.tensors, self.training, self.read = tensors, training, set[str]()

    def __getitem__(self, name: str) -> Tensor:
        self.read.add(name)
        return self.tensors[name]


def sign(x: Tensor) -> Tensor:
    inside = torch.where(x < 0, x * x + 2 * x, -x * x + 2 * x)
    soft = torch.where(x < -1, -1, torch.where(x < 1, inside, 1))
    return x.sign() - soft.detach() + soft


def conv(x: Tensor, state: State, name: str, shape: tuple[int, ...], stride: int) -> Tensor:
    real = state[name].view(shape)
    clipped = real.clamp(-1, 1)
    weight = real.abs().mean((1, 2, 3), keepdim=True).detach() * real.sign().detach() - clipped.detach() + clipped
    return F.conv2d(x, weight, None, stride, shape[-1] // 2)


def norm(x: Tensor, state: State, name: str) -> Tensor:
    mean, variance = (state[f"{name}.running_{what}"].detach().clone() for what in ("mean", "var"))
    return F.batch_norm(x, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"], state.training)


def rprelu(x: Tensor, state: State, before: str, prelu: str, after: str) -> Tensor:
    return F.prelu(x + state[f"{before}.bias"], state[f"{prelu}.weight"]) + state[f"{after}.bias"]


def resnet(state: State, x: Tensor, depths: list[int], react: bool) -> Tensor:
    """Bi-Real Net, or ReActNet on it."""
    x = F.max_pool2d(norm(F.conv2d(x, state["conv1.weight"], None, 2, 3), state, "bn1"), 3, 2, 1)
    inputs = planes = x.shape[1]
    for stage, depth in enumerate(depths):
        for i in range(depth):
            at = f"layer{stage + 1}.{i}"
            stride = 2 if stage > 0 and i == 0 else 1
            bits = sign(x + state[f"{at}.move0.bias"] if react else x)
            name = f"{at}.binary_conv.weight" + "s" * (not react)
            y = norm(conv(bits, state, name, (planes, inputs, 3, 3), stride), state, f"{at}.bn1")
            if stride == 2:
                x = norm(F.conv2d(F.avg_pool2d(x, 2), state[f"{at}.downsample.1.weight"]), state, f"{at}.downsample.2")
            x = x + y
            if react:
                x = rprelu(x, state, f"{at}.move1", f"{at}.prelu", f"{at}.move2")
            inputs = planes
        planes *= 2
    return F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


def reactnet_a(state: State, x: Tensor, width: float) -> Tensor:
    widths = [int(w * width) for w in WIDTHS_A]
    x = norm(F.conv2d(x, state["feature.0.conv1.weight"], None, 2, 1), state, "feature.0.bn1")
    for i, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:], strict=True), 1):
        at = f"feature.{i}"
        stride = 2 if inputs != outputs and i > 1 else 1
        bits = sign(x + state[f"{at}.move11.bias"])
        y = norm(conv(bits, state, f"{at}.binary_3x3.weights", (inputs, inputs, 3, 3), stride), state, f"{at}.bn1")
        x = y + (F.avg_pool2d(x, 2) if stride == 2 else x)
        x = rprelu(x, state, f"{at}.move12", f"{at}.prelu1", f"{at}.move13")
        bits = sign(x + state[f"{at}.move21.bias"])
        one = (inputs, inputs, 1, 1)
        if inputs == outputs:
            x = x + norm(conv(bits, state, f"{at}.binary_pw.weights", one, 1), state, f"{at}.bn2")
        else:
            parts = [
                x + norm(conv(bits, state, f"{at}.binary_pw_down{j}.weights", one, 1), state, f"{at}.bn2_{j}")
                for j in (1, 2)
            ]
            x = torch.cat(parts, 1)
        x = rprelu(x, state, f"{at}.move22", f"{at}.prelu2", f"{at}.move23")
    return F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])
