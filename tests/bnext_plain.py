"""BNext's published forward pass over its published state dict: plain, slow, and independent of `netsuke.models`.

Written from the description of the architecture. `s` is the state dict (float64), `p` the prefix of a unit in it. In
training, batch norm takes the statistics of the batch, and signs have the estimators of the published code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d

State = dict[str, Tensor]


@dataclass
class Published:
    """What the description leaves to arguments. hard_below: the temperature from which weights are signs."""

    attention: bool = True
    recoupling: bool = True
    training: bool = False
    hard_below: float = 1e-7

    # ------------------------------------------------------------------------------------- layers
    def norm(self, s: State, p: str, x: Tensor) -> Tensor:
        mean, var = s[p + ".running_mean"], s[p + ".running_var"]
        if self.training:
            mean = x.mean((0, 2, 3))
            var = (x - mean[:, None, None]).square().mean((0, 2, 3))
        y = (x - mean[:, None, None]) / (var + 1e-5).sqrt()[:, None, None]
        return y * s[p + ".weight"][:, None, None] + s[p + ".bias"][:, None, None]

    def prelu(self, s: State, p: str, x: Tensor) -> Tensor:
        return x.clamp(min=0) + s[p + ".weight"][:, None, None] * x.clamp(max=0)

    def binary_conv(self, s: State, p: str, x: Tensor, stride: int) -> Tensor:
        x = x + s[p + ".move.bias"]
        clipped = x.clamp(-1.5, 1.5)
        x = clipped + (x.sign() - clipped).detach()
        w, t = s[p + ".binary_conv.weight"], s[p + ".binary_conv.temperature"].item()
        value = w.sign() if t < self.hard_below else (w / t).clamp(-1, 1)
        if self.training:
            value = w + (value - w).detach()
        return conv2d(x, value, stride=stride, padding=w.shape[2] // 2)

    def gate(self, s: State, p: str, x: Tensor) -> Tensor:
        v = x.flatten(2).mean(2)
        v = (v @ s[p + ".se.se.1.weight"].flatten(1).T + s[p + ".se.se.1.bias"]).clamp(min=0)
        v = v @ s[p + ".se.se.3.weight"].flatten(1).T + s[p + ".se.se.3.bias"]
        return (1 / (1 + torch.exp(-v)))[:, :, None, None]

    # ------------------------------------------------------------------------------------- units
    def features(self, s: State, p: str, x: Tensor, stride: int, mixed: Tensor, clamps: bool) -> Tensor:
        """RSign, binary convolution, norm, PReLU; then, with recoupling, the gate on the mix with `mixed`."""
        y = self.prelu(s, p + ".activation2", self.norm(s, p + ".norm1", self.binary_conv(s, p, x, stride)))
        if not self.recoupling:
            return y
        scale = s[p + ".scale"].clamp(0, 1) if clamps else s[p + ".scale"]
        return y * self.gate(s, p, scale * mixed + (1 - scale) * y)

    def attention_unit(self, s: State, p: str, x: Tensor, stride: int) -> Tensor:
        residual = pool(self.prelu(s, p + ".activation1", x), stride)
        y = self.features(s, p, x, stride, pool(x, stride), clamps=False) * residual
        return self.norm(s, p + ".norm2", y) + residual

    def residual_unit(self, s: State, p: str, x: Tensor, stride: int, clamps: bool) -> Tensor:
        y = self.features(s, p, x, stride, pool(x, stride), clamps)
        y = self.norm(s, p + ".norm2", y) if self.recoupling else y
        return y + pool(x, stride)

    # ------------------------------------------------------------------------------------- networks
    def tower(self, s: State, x: Tensor) -> Tensor:
        """BNext-Tiny to Large. The image's side is halved by the stem where there are 1,000 classes."""
        stride = 2 if len(s["fc.bias"]) == 1000 else 1
        x = self.norm(s, "feature.0.bn1", conv2d(x, s["feature.0.conv1.weight"], stride=stride, padding=1))
        blocks = 1 + max(int(name.split(".")[1]) for name in s if name.startswith("feature."))
        for i in range(1, blocks):
            p = f"feature.{i}"
            doubles = f"{p}.FFN_1.scale" in s or f"{p}.FFN_1.move.bias" in s
            stride = 2 if doubles and i > 1 else 1
            if self.attention and i % 2 == 0:
                x = self.attention_unit(s, f"{p}.Attention", x, stride)
            else:
                name = "Attention" if self.attention else "FFN_3x3"
                x = self.residual_unit(s, f"{p}.{name}", x, stride, clamps=False)
            ends = ("FFN_1", "FFN_2") if doubles else ("FFN",)
            x = torch.cat([self.residual_unit(s, f"{p}.{end}", x, 1, clamps=True) for end in ends], 1)
        return self.tail(s, x)

    def resnet18(self, s: State, x: Tensor) -> Tensor:
        """BNext-18. Without attention (which its code has no switch for), its first units are residual ones too."""
        if len(s["fc.bias"]) == 1000:
            x = self.norm(s, "bn1", conv2d(x, s["conv1.weight"], stride=2, padding=3))
            x = torch.nn.functional.max_pool2d(x, 3, 2, 1)
        else:
            x = self.norm(s, "bn1", conv2d(x, s["conv1.weight"], stride=1, padding=1))
        for stage in range(4):
            for block in range(2):
                p = f"layer{stage}.{block}"
                x = self.first_of_18(s, f"{p}.Attention", x, 2 if stage > 0 and block == 0 else 1)
                x = self.residual_unit(s, f"{p}.FFN", x, 1, clamps=True)
        return self.tail(s, x)

    def first_of_18(self, s: State, p: str, x: Tensor, stride: int) -> Tensor:
        residual = self.prelu(s, p + ".activation1", x) if self.attention else x
        if stride == 2:
            residual = conv2d(pool(residual, 2), s[p + ".downsample.1.weight"])
            residual = self.norm(s, p + ".downsample.2", residual)
        y = self.features(s, p, x, stride, residual, clamps=False)
        if self.attention:
            y = y * residual
        if self.attention or self.recoupling:
            y = self.norm(s, p + ".norm2", y)
        return y + residual

    def tail(self, s: State, x: Tensor) -> Tensor:
        return self.prelu(s, "prelu", x).flatten(2).mean(2) @ s["fc.weight"].T + s["fc.bias"]


def pool(x: Tensor, stride: int) -> Tensor:
    """The mean of 2x2 windows that do not overlap, or x."""
    if stride == 1:
        return x
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def randomised(state: State, seed: int) -> State:
    """A published state dict with its tensors drawn anew, float64; some temperatures are hard, some scales above 1."""
    draw = torch.Generator().manual_seed(seed)

    def normal(value: Tensor, mean: float, std: float) -> Tensor:
        return mean + std * torch.randn(value.shape, generator=draw, dtype=torch.float64)

    def uniform(value: Tensor, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(value.shape, generator=draw, dtype=torch.float64)

    made: State = {}
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            made[name] = value.clone()
        elif name.endswith("temperature"):
            made[name] = torch.where(uniform(value, 0, 1) < 0.5, 1e-9, uniform(value, 0.05, 1))
        elif name.endswith("running_var"):
            made[name] = uniform(value, 0.5, 2)
        elif name.endswith(".scale"):
            made[name] = uniform(value, -0.2, 1.2)
        elif name.endswith((".weight", ".bias")) and value.dim() == 1:
            made[name] = normal(value, 0.5 if name.endswith("weight") else 0, 0.5)
        elif name.endswith("move.bias"):
            made[name] = normal(value, 0, 0.3)
        else:
            made[name] = normal(value, 0, max(value[0].numel(), 1) ** -0.5 if value.dim() > 1 else 0.5)
    return made
