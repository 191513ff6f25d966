"""Every supported operator: the exported graph computes what the module computes, in the reference and the engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lowering_checks import RUNNERS, check_module
from netsuke.artifact.graph import AveragePool, Clamp, Concat, Conv2d, MaxPool, PadChannels, TwoSlope


class Apply(nn.Module):
    """A function of the images and of a few constants as a module."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("row", torch.tensor([0.5, -2.0, 3.0, 1.5]).view(1, 4, 1, 1))
        self.scale = nn.Parameter(torch.tensor(-0.75))

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


FUNCTIONS: dict[str, Callable[..., object]] = {
    "relu": lambda m, x: F.relu(x),
    "relu_in_place": lambda m, x: F.relu_(x + 0) + x,
    "relu_method": lambda m, x: x.relu(),
    "relu6": lambda m, x: F.relu6(4 * x),
    "hardtanh": lambda m, x: F.hardtanh(x, -0.5, 0.75),
    "clamp": lambda m, x: x.clamp(-0.25, 0.5),
    "clamp_one_side": lambda m, x: x.clamp(min=0.1) + x.clamp(max=0.2),
    "clamp_min": lambda m, x: torch.clamp_min(x, -0.3) - torch.clamp_max(x, 0.3),
    "leaky_relu": lambda m, x: F.leaky_relu(x, 0.1),
    "abs": lambda m, x: x.abs(),
    "prelu_channels": lambda m, x: F.prelu(x, m.row.flatten()),
    "prelu_one": lambda m, x: F.prelu(x, m.scale.view(1)),
    "add": lambda m, x: x + F.relu(x),
    "add_in_place": lambda m, x: (x * 2).add_(F.relu(x)),
    "add_alpha": lambda m, x: torch.add(x, F.relu(x), alpha=-3),
    "add_itself": lambda m, x: (x * 2) + (x * 2),
    "add_number": lambda m, x: 1.5 + x,
    "add_row": lambda m, x: x + m.row,
    "subtract": lambda m, x: x - F.relu(x),
    "subtract_from_number": lambda m, x: 1 - x,
    "subtract_row": lambda m, x: m.row - x,
    "multiply_row": lambda m, x: m.row * x,
    "multiply_number": lambda m, x: x * -2,
    "multiply_constant": lambda m, x: x * (m.scale * 2 + 1),
    "multiply_maps": lambda m, x: x * F.relu(x),
    "square": lambda m, x: x * x,
    "gate": lambda m, x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "gate_first": lambda m, x: torch.sigmoid(F.adaptive_avg_pool2d(x, 1)) * x,
    "gate_of_a_gate": lambda m, x: x.mean((2, 3), keepdim=True) * x.mean((2, 3), keepdim=True).sigmoid(),
    "lerp_number": lambda m, x: torch.lerp(x, F.relu(x), 0.25),
    "lerp_row": lambda m, x: torch.lerp(x, x.mean((2, 3), keepdim=True) * x, m.row.clamp(0, 1)),
    "sigmoid": lambda m, x: torch.sigmoid(30 * x),
    "silu": lambda m, x: F.silu(3 * x),
    "hardsigmoid": lambda m, x: F.hardsigmoid(6 * x),
    "hardswish": lambda m, x: F.hardswish(4 * x) * 2,
    "mean_of_a_map_that_is_kept": lambda m, x: (F.relu(x).mean((2, 3)), F.relu(x)),
    "divide": lambda m, x: x / m.row,
    "negate": lambda m, x: -x,
    "max_pool": lambda m, x: F.max_pool2d(x, 3, 2, 1),
    "max_pool_ceil": lambda m, x: F.max_pool2d(x, 2, 2, ceil_mode=True),
    "max_pool_ceil_padded": lambda m, x: F.max_pool2d(x, (3, 2), (2, 3), (1, 0), ceil_mode=True),
    "average_pool": lambda m, x: F.avg_pool2d(x, 2),
    "average_pool_counts_padding": lambda m, x: F.avg_pool2d(x, 3, 2, 1),
    "average_pool_without_padding": lambda m, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "average_pool_ceil": lambda m, x: F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False),
    "average_pool_ceil_default": lambda m, x: F.avg_pool2d(x, 2, 2, ceil_mode=True),
    "average_pool_divisor": lambda m, x: F.avg_pool2d(x, 2, 2, divisor_override=3),
    "average_pool_of_padded": lambda m, x: F.avg_pool2d(F.pad(x, (1, 0, 2, 1)), 3, 2),
    "adaptive_pool_one": lambda m, x: F.adaptive_avg_pool2d(x, 1),
    "adaptive_pool_dividing": lambda m, x: F.adaptive_avg_pool2d(x, (1, 3)),
    "mean": lambda m, x: x.mean((2, 3)),
    "mean_kept": lambda m, x: x.mean((-1, -2), keepdim=True),
    "mean_of_rows": lambda m, x: x.mean(3, keepdim=True),
    "concatenate": lambda m, x: torch.cat([x, F.relu(x), -x], 1),
    "concatenate_flat": lambda m, x: torch.cat([x.mean((2, 3)), -x.mean((2, 3))], dim=-1),
    "slice": lambda m, x: x[:, :, ::2, ::3],
    "slice_rows": lambda m, x: x[:, :, ::2],
    "slice_channels": lambda m, x: F.relu(x)[:, 1:3] + x[:, -2:] * x[:, ::2],
    "slice_features": lambda m, x: x.mean((2, 3))[:, 1:],
    "select_channels": lambda m, x: x.index_select(1, torch.tensor([3, 0, 0, 1, 2, 2])),
    "slices_of_slices": lambda m, x: torch.cat([x[:, 2:], x[:, :3]], 1)[:, 1:4][:, ::2],
    "channel_shuffle": lambda m, x: torch.cat([x, -x], 1).index_select(1, torch.arange(8).view(2, 4).t().flatten()),
    "pad_channels": lambda m, x: F.pad(x, (0, 0, 0, 0, 1, 2)),
    "option_a": lambda m, x: F.relu(F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))),
    "view": lambda m, x: F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1) * 2,
    "view_any_batch": lambda m, x: F.relu(x.view(-1, 4 * 5 * 6)),
    "flatten_rows": lambda m, x: (x.flatten(2) * m.row.view(1, 4, 1)).view(-1, 4, 5, 6),
    "flatten": lambda m, x: torch.flatten(x, 1),
    "flatten_method": lambda m, x: F.relu(x).flatten(1),
    "reshape_and_back": lambda m, x: x.mean((2, 3)).reshape(-1, 4, 1, 1) + x.mean((2, 3), keepdim=True),
    "squeeze": lambda m, x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
    "unsqueeze": lambda m, x: x.mean((2, 3))[..., None, None],
    "no_ops": lambda m, x: F.dropout(x.contiguous().clone().detach(), training=m.training).float() * 1.0,
    "two_outputs": lambda m, x: (F.relu(x), x.mean((2, 3))),
    "nested_outputs": lambda m, x: {"a": [F.relu(x)], "b": x * 2},
    "the_input": lambda m, x: x,
    "one_output_twice": lambda m, x: (F.relu(x), F.relu(x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    torch.manual_seed(0)
    check_module(Apply(FUNCTIONS[name]), torch.randn(3, 4, 5, 6), RUNNERS)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Conv2d(4, 6, 3),
    "conv_all_arguments": lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (2, 1), (1, 2), groups=2, bias=False),
    "conv_same": lambda: nn.Conv2d(4, 6, (2, 3), padding="same", dilation=2),
    "conv_valid": lambda: nn.Conv2d(4, 6, 3, padding="valid"),
    "conv_depthwise": lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4),
    "conv_of_padded": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 2, 1)), nn.Conv2d(4, 6, 3, 2, 1)),
    "conv_norm_relu": lambda: nn.Sequential(nn.Conv2d(4, 6, 3), norm(6), nn.ReLU(inplace=True)),
    "norm": lambda: norm(4),
    "norm_without_affine": lambda: nn.BatchNorm2d(4, affine=False),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(120, 7)),
    "linear_linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(120, 7), nn.ReLU(), nn.Linear(7, 3, bias=False)),
    "pool_norm_linear": lambda: nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), norm(4, nn.BatchNorm1d), nn.Linear(4, 3)
    ),
    "norm_of_flattened_map": lambda: nn.Sequential(nn.Flatten(), norm(120, nn.BatchNorm1d), nn.Linear(120, 3)),
    "layers_without_work": lambda: nn.Sequential(nn.Identity(), nn.Dropout(), nn.Dropout2d(), nn.Conv2d(4, 2, 1)),
    "lenet": lambda: nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 6, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 5),
    ),
}  # fmt: skip


def norm(channels: int, kind: type[nn.BatchNorm1d] | type[nn.BatchNorm2d] = nn.BatchNorm2d) -> nn.Module:
    """A batch norm that does something; its third scale is negative."""
    module = kind(channels)
    with torch.no_grad():
        module.weight.copy_(torch.linspace(0.5, 1.5, channels))
        module.weight[2] = -0.7
        module.bias.copy_(torch.linspace(-1, 1, channels))
        assert module.running_mean is not None
        assert module.running_var is not None
        module.running_mean.copy_(torch.linspace(-0.5, 0.3, channels))
        module.running_var.copy_(torch.linspace(0.2, 2, channels))
    return module


@pytest.mark.parametrize("name", MODULES)
def test_module(name: str) -> None:
    torch.manual_seed(0)
    check_module(MODULES[name](), torch.randn(3, 4, 5, 6), RUNNERS)


def test_a_residual_block_is_two_nodes() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), norm(4)
            self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), norm(4)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(x)
            y = F.relu(self.bn1(self.conv1(x)))
            return F.relu(self.bn2(self.conv2(y)) + x)

    torch.manual_seed(0)
    lowered = check_module(nn.Sequential(nn.Conv2d(4, 4, 1), Block()), torch.randn(2, 4, 5, 6), RUNNERS)
    assert [node.name for node in lowered.graph.nodes] == ["0", "1.conv1", "1.conv2"]


def test_the_host_of_an_addition_moves_behind_its_operand() -> None:
    """conv1 runs before the shortcut in the module; in the graph it comes last and takes the sum over."""

    class Downsample(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(4, 8, 3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv1(x)
            return F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)))

    lowered = check_module(Downsample(), torch.randn(2, 4, 5, 6), RUNNERS)
    assert [type(node) for node in lowered.graph.nodes] == [MaxPool, PadChannels, Conv2d]
    assert lowered.graph.nodes[0].stride == (2, 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (nn.AvgPool2d(2), [AveragePool]),
        (nn.ReLU6(), [Clamp]),
        (nn.PReLU(4), [TwoSlope]),
        (Apply(lambda m, x: torch.cat([x, x], 1)), [Concat]),
    ],
)
def test_the_node_that_is_meant(module: nn.Module, kinds: list[type]) -> None:
    lowered = check_module(module, torch.randn(2, 4, 5, 6), ["reference"])
    (node,) = lowered.graph.nodes
    assert {type(node), *(type(step) for step in node.epilogue)} >= set(kinds)
