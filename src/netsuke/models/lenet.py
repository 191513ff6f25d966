"""The two networks for MNIST that pruning and coding are measured on, as Caffe has them (LeCun et al. 1998).

Layers have Caffe's names. Sizes in float32: LeNet-300-100 1,066,440 bytes, LeNet-5 1,724,320.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu


class LeNet300(nn.Module):
    """784-300-100-classes, fully connected: 266,610 parameters for 10 classes."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.ip1 = nn.Linear(784, 300)
        self.ip2 = nn.Linear(300, 100)
        self.ip3 = nn.Linear(100, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.ip3(relu(self.ip2(relu(self.ip1(x.flatten(1))))))


class LeNet5(nn.Module):
    """Caffe's LeNet-5, without a nonlinearity behind its convolutions: 431,080 parameters for 10 classes."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.ip1 = nn.Linear(800, 500)
        self.ip2 = nn.Linear(500, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = max_pool2d(self.conv1(x), 2)
        x = max_pool2d(self.conv2(x), 2)
        return self.ip2(relu(self.ip1(x.flatten(1))))


def lenet_300_100(num_classes: int = 10) -> nn.Module:
    return LeNet300(num_classes)


def lenet5(num_classes: int = 10) -> nn.Module:
    return LeNet5(num_classes)
