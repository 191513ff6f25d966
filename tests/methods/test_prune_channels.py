"""`netsuke.prune_channels`: what goes together, how much goes, and that nothing else changes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netsuke
from lowering_checks import RUNNERS, check_module
from netsuke.analyze import cost
from netsuke.methods import ChannelsReport
from netsuke.methods.channels import OUTPUT, follow
from netsuke.models.resnet import BasicBlock, CifarResNet, PadShortcut, conv_shortcut, pad_shortcut


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def images(count: int = 2, size: int = 8, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, size, size)


def conv_bn(inputs: int, outputs: int, kernel: int = 3, **more: Any) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **more), nn.BatchNorm2d(outputs))


class Head(nn.Module):
    """A stem of 8 channels, `body`, global average pooling, 5 classes."""

    def __init__(self, body: nn.Module, width: int = 8) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.body = body
        self.last = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(F.relu(self.stem(x))).mean((2, 3)))


class Depthwise(nn.Sequential):
    """Two output channels for each one of the depthwise layer."""

    def __init__(self) -> None:
        super().__init__(conv_bn(8, 16, groups=8), nn.PReLU(16), nn.Conv2d(16, 8, 1))


class Gate(nn.Module):
    """Squeeze and excitation, with the channels read from the shape, as is usual."""

    def __init__(self) -> None:
        super().__init__()
        self.widen, self.fc1, self.fc2 = conv_bn(8, 12), nn.Linear(12, 6), nn.Linear(6, 12)
        self.narrow = nn.Conv2d(12, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.widen(x))
        n, c = x.shape[:2]
        gate = self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1).view(n, c)))).sigmoid()
        return self.narrow(x * gate.view(n, c, 1, 1))


class Concat(nn.Module):
    """DenseNet's: later layers read all earlier ones."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.end = conv_bn(8, 6), conv_bn(14, 6), nn.Conv2d(20, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, F.relu(self.one(x))], 1)
        return self.end(torch.cat([x, F.relu(self.two(x))], 1))


class Shared(nn.Module):
    """One layer that runs twice, on its own output."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = conv_bn(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(F.relu(self.layer(x)))


class Scaled(nn.Module):
    """Bare parameters, one number a channel, around a grouped layer, which stays."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(12, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.gain = nn.Parameter(torch.randn(1, 12, 1, 1))
        self.register_buffer("shift", torch.randn(12, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.grouped(self.outer(F.relu(self.inner(x)) * self.gain + self.shift))


class Flattened(nn.Module):
    """A linear layer on a flattened map of 2 x 2 pixels, with a batch norm between."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.next = conv_bn(3, 8), conv_bn(8, 12)
        self.norm, self.wide, self.last = nn.BatchNorm1d(48), nn.Linear(48, 20), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.next(F.relu(self.stem(x)))), 4)
        return self.last(F.relu(self.wide(self.norm(x.flatten(1)))))


class Permuted(nn.Module):
    """ConvNeXt's linear layers on channels that stand last."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 24), nn.Linear(24, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


def residual(shortcut: Callable[[int, int, int], nn.Module]) -> nn.Module:
    return nn.Sequential(
        BasicBlock(8, 8, 1, shortcut, "shortcut"), BasicBlock(8, 16, 2, shortcut, "shortcut"),
        BasicBlock(16, 32, 2, shortcut, "shortcut"),
    )  # fmt: skip


NETS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: Head(nn.Sequential(conv_bn(8, 12), nn.ReLU(), conv_bn(12, 8))),
    "residual": lambda: Head(residual(conv_shortcut), 32),
    "option A": lambda: Head(residual(pad_shortcut), 32),
    "depthwise": lambda: Head(Depthwise()),
    "gate": lambda: Head(Gate()),
    "concat": lambda: Head(Concat()),
    "shared": lambda: Head(Shared()),
    "scaled": lambda: Head(Scaled()),
    "flattened": Flattened,
    "permuted": lambda: Head(Permuted()),
}


def net(name: str) -> nn.Module:
    """In float64, with batch norms that do something."""
    model = NETS[name]().double()
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                for tensor in (m.weight, m.bias, m.running_mean):
                    tensor.copy_(torch.randn(len(tensor)))
                m.running_var.copy_(torch.rand(len(m.running_var)) + 0.5)
    return model.eval()


def report(model: nn.Module) -> ChannelsReport:
    assert isinstance(model.netsuke_report, ChannelsReport)
    return model.netsuke_report


def outputs(model: nn.Module, name: str) -> int:
    return next(layer.outputs[1] for layer in report(model).layers if layer.name == name)


def kill_every_second(model: nn.Module, x: Tensor) -> None:
    """Half of the channels that may go have no filter and no batch norm, no shift and no gain: they are always 0."""
    follower = follow(model, (x,), True)
    held = follower.held()
    free = sorted({r for p in follower.products for r in follower.roots(p.outputs).tolist()} - set(held))
    dead = set(free[::2])
    with torch.no_grad():
        for product in follower.products:
            at = [i for i, root in enumerate(follower.roots(product.outputs).tolist()) if root in dead]
            layer: Any = model.get_submodule(product.name)
            layer.weight[at] = 0
            if layer.bias is not None:
                layer.bias[at] = 0
        for norm in follower.norms:
            at = [i for i, root in enumerate(follower.roots(norm.channels).tolist()) if root in dead]
            model.get_parameter(norm.weight)[at] = 0
            model.get_parameter(norm.bias)[at] = 0
        if hasattr(model, "body") and isinstance(model.body, Scaled):
            at = [i for i, root in enumerate(follower.roots(follower.labels["body.gain"][1]).tolist()) if root in dead]
            model.body.shift[at] = 0


@cache
def halved(name: str) -> tuple[nn.Module, nn.Module]:
    """A net, and what half of its work makes; neither is to be changed."""
    torch.manual_seed(1)
    model = net(name)
    return model, netsuke.prune_channels(model, images(1).double(), macs=0.5, multiple_of=1)


# ----------------------------------------------------------------------------------------------- the promise
@pytest.mark.parametrize(("name", "importance"), [*((name, "l2") for name in NETS), ("gate", "taylor")])
def test_channels_of_no_importance_go_without_a_trace(name: str, importance: str) -> None:
    """All that the target asks for are dead ones."""
    model, x = net(name), images(6).double()
    kill_every_second(model, x[:1])
    pruned = netsuke.prune_channels(
        model, x[:1], macs=0.8, importance=importance, calibration=(x, torch.arange(6) % 5), multiple_of=1, minimum=0.0
    )
    assert report(pruned).macs[1] <= 0.8 * report(pruned).macs[0]
    with torch.no_grad():
        torch.testing.assert_close(pruned(x), model(x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NETS)
def test_what_is_left_computes_what_the_model_does_when_nobody_reads_the_rest(name: str) -> None:
    """The masks here are made from the indices in the report, by hand, and not by what chose them."""
    (model, pruned), x = halved(name), images(3).double()
    masked = copy.deepcopy(model)
    for key, kept in report(pruned).channels["tensors"].items():
        weight = masked.state_dict()[key]
        if "1" in kept and weight.dim() in (2, 4) and key != "body.gain":
            lost = [i for i in range(weight.shape[1]) if i not in kept["1"]]
            assert lost
            weight[:, lost] = 0  # state_dict shares its memory
    with torch.no_grad():
        torch.testing.assert_close(pruned(x), masked(x), rtol=0, atol=1e-9)
        assert not torch.allclose(pruned(x), model(x), atol=1e-3)


@pytest.mark.parametrize("name", NETS)
def test_layers_are_ordinary_and_say_their_sizes(name: str) -> None:
    model, pruned = halved(name)
    assert [(n, type(m)) for n, m in pruned.named_modules()] == [(n, type(m)) for n, m in model.named_modules()]
    for m in pruned.modules():
        if isinstance(m, nn.Conv2d):
            assert m.weight.shape[:2] == (m.out_channels, m.in_channels // m.groups)
        elif isinstance(m, nn.Linear):
            assert m.weight.shape == (m.out_features, m.in_features)
        elif isinstance(m, nn.BatchNorm2d):
            assert m.num_features == len(m.weight) == len(m.bias) == len(m.running_mean) == len(m.running_var)
        elif isinstance(m, nn.PReLU):
            assert m.num_parameters == len(m.weight)
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in model.parameters())
    assert pruned(images(1).double()).shape == (1, 5)


@pytest.mark.parametrize("name", NETS)
def test_the_report_counts_what_profile_counts(name: str) -> None:
    (model, pruned), x = halved(name), images(1).double()
    assert report(pruned).macs == (cost(model, x).flops, cost(pruned, x).flops)
    counted = {layer.name: layer.flops for layer in cost(pruned, x).layers if layer.flops}
    assert {layer.name: layer.macs[1] for layer in report(pruned).layers} == counted


# --------------------------------------------------------------------------------------- what goes together
def test_a_shortcut_that_pads_keeps_its_channels_in_place() -> None:
    model, x = net("option A"), images(1).double()
    pruned = netsuke.prune_channels(model, x, macs=0.6, multiple_of=1, skip=lambda name, _: name.endswith("conv1"))
    for number in (1, 2):
        block = pruned.get_submodule(f"body.{number}")
        before, after = block.shortcut.channel_padding
        wide = block.conv2.out_channels
        assert before + block.conv1.in_channels + after == wide
        assert wide < model.get_submodule(f"body.{number}.conv2").out_channels
    assert isinstance(pruned.body[1].shortcut, PadShortcut)


def test_padding_by_a_number_in_the_code_holds_the_stages() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(12, 16, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.outer(F.relu(self.inner(x))) + F.pad(x, (0, 0, 0, 0, 4, 4))

    pruned = netsuke.prune_channels(Head(Padded(), 16).eval(), images(1), macs=0.6, multiple_of=1)
    assert [outputs(pruned, n) for n in ("stem.0", "body.outer")] == [8, 16]
    assert outputs(pruned, "body.inner") < 12
    assert "body pads channels by a number of its own" in dict(report(pruned).skipped)["body.outer"]


def test_a_number_of_channels_in_the_code_holds_them() -> None:
    """The graph does not tell x.view(-1, 192) from a shape that was computed: the second look takes it for a number."""

    class Numbers(Flattened):
        def forward(self, x: Tensor) -> Tensor:
            x = F.max_pool2d(F.relu(self.next(F.relu(self.stem(x)))), 4)
            return self.last(F.relu(self.wide(self.norm(x.view(-1, 48)))))

    pruned = netsuke.prune_channels(Numbers().eval(), images(1), macs=0.6, multiple_of=1)
    assert outputs(pruned, "next.0") == 12
    assert outputs(pruned, "stem.0") < 8
    assert "has the number of channels in it" in dict(report(pruned).skipped)["next.0"]


@pytest.mark.parametrize(
    ("middle", "why"),
    [
        (lambda x: torch.cat(torch.chunk(x, 2, 1)[::-1], 1), "aten.chunk.default"),
        (lambda x: x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2), "cuts or mixes channels"),
        (lambda x: x[:, :4], "takes channels by their numbers"),
        (lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2), "aten.layer_norm.default"),
        (lambda x: x * x.mean(1, keepdim=True), "summed up by aten.mean.dim"),
    ],
)
def test_what_is_not_followed_stays_whole_and_is_named(middle: Callable[[Tensor], Tensor], why: str) -> None:
    class Middle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Conv2d(8, 8, 3, padding=1)
            self.after = nn.Conv2d(8 if middle(torch.zeros(1, 8, 2, 2)).shape[1] == 8 else 4, 12, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.after(middle(self.inner(x)))

    pruned = netsuke.prune_channels(Head(Middle(), 12).eval(), images(1), macs=0.7, multiple_of=1)
    assert outputs(pruned, "body.inner") == 8
    assert why in dict(report(pruned).skipped)["body.inner"]
    assert outputs(pruned, "body.after") < 12 or outputs(pruned, "stem.0") < 8


# -------------------------------------------------------------------------------------------- how much goes
@pytest.mark.parametrize(("macs", "multiple_of"), [(0.35, 1), (0.5, 4), (0.75, 4)])
def test_the_target_is_met_and_no_group_could_have_kept_more(macs: float, multiple_of: int) -> None:
    model = CifarResNet([1, 1, 1], [8, 16, 32], pad_shortcut).eval()
    pruned = netsuke.prune_channels(model, images(1), macs=macs, multiple_of=multiple_of)
    before, after = report(pruned).macs
    assert after <= macs * before
    for layer in report(pruned).layers:
        assert layer.outputs[1] % multiple_of == 0 or layer.name == "linear"
    # A chunk more of the inner channels of any block would be too much.
    assert any(layer.outputs[1] < layer.outputs[0] for layer in report(pruned).layers)
    for name, side in (("layer1.0", 8), ("layer2.0", 4), ("layer3.0", 2)):
        block: Any = pruned.get_submodule(name)
        if block.conv1.out_channels < model.get_submodule(name).conv1.out_channels:
            more = multiple_of * 9 * side * side * (block.conv1.in_channels + block.conv2.out_channels)
            assert after + more > macs * before


def test_all_that_is_asked_for_nothing() -> None:
    model = net("residual")
    pruned = netsuke.prune_channels(model, images(1).double(), macs=1.0)
    assert report(pruned).channels == {"tensors": {}, "paddings": {}}
    assert report(pruned).macs[0] == report(pruned).macs[1]
    for key, value in pruned.state_dict().items():
        assert torch.equal(value, model.state_dict()[key])


def test_the_least_share_remains() -> None:
    model = net("plain")
    with torch.no_grad():
        model.body[0][0].weight[:11] *= 1e-6  # eleven of twelve channels
    pruned = netsuke.prune_channels(model, images(1).double(), macs=0.6, multiple_of=1, minimum=0.5)
    assert outputs(pruned, "body.0.0") == 6


def test_more_than_the_least_share_allows_is_an_error() -> None:
    with pytest.raises(netsuke.Error, match=r"macs=0.01 cannot be reached, 0\.\d+ can"):
        netsuke.prune_channels(net("plain"), images(1).double(), macs=0.01, multiple_of=1)


# -------------------------------------------------------------------------------------------- which ones go
def test_filters_are_ranked_by_norm_over_their_layers_mean() -> None:
    """Norms by hand: a layer whose filters are a thousand times smaller loses no more than the other."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.ReLU(), nn.Conv2d(4, 4, 1, bias=False), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([3.0, 1.0, 2.0, 4.0]).view(4, 1, 1, 1).expand(4, 3, 1, 1))
        model[2].weight.copy_(1e-3 * torch.tensor([3.0, 4.0, 0.5, 2.0]).view(4, 1, 1, 1).expand(4, 4, 1, 1))
    # Scores are 1.2, 0.4, 0.8, 1.6 and 1.26, 1.68, 0.21, 0.84. Without the least two, 9 + 9 + 6 of 12 + 16 + 8 remain.
    pruned = netsuke.prune_channels(model, images(1), macs=0.67, multiple_of=1)
    kept = report(pruned).channels["tensors"]
    assert kept["0.weight"]["0"] == kept["2.weight"]["1"] == [0, 2, 3]
    assert kept["2.weight"]["0"] == kept["3.weight"]["1"] == [0, 1, 3]


def test_l1_and_l2_differ_where_filters_do() -> None:
    model = nn.Sequential(nn.Conv2d(4, 2, 1, bias=False), nn.Conv2d(2, 2, 1))
    with torch.no_grad():  # l1: 4 and 3. l2: 2 and 3
        model[0].weight.copy_(torch.tensor([[1.0, 1, 1, 1], [3, 0, 0, 0]]).view(2, 4, 1, 1))
    for importance, kept in (("l1", 0), ("l2", 1)):
        pruned = netsuke.prune_channels(
            model, images(1, channels=4), macs=0.5, importance=importance, multiple_of=1, minimum=0.1
        )
        assert report(pruned).channels["tensors"]["0.weight"] == {"0": [kept]}


def test_batch_norm_scales_rank_over_all_layers() -> None:
    model = net("plain")
    with torch.no_grad():
        for norm in (model.stem[1], model.body[0][1], model.body[2][1]):
            norm.weight.copy_(torch.rand(len(norm.weight)) + 1)
        model.body[0][1].weight[[2, 5, 7]] = torch.tensor([0.1, -0.2, 0.05]).double()
    pruned = netsuke.prune_channels(model, images(1).double(), macs=0.8, importance="batch_norm", multiple_of=1)
    kept = report(pruned).channels["tensors"]
    assert kept["body.0.0.weight"]["0"] == [i for i in range(12) if i not in (2, 5, 7)]
    assert set(kept["stem.0.weight"]["0"] if "stem.0.weight" in kept else range(8)) == set(range(8))


def test_taylor_is_the_change_of_the_loss_to_first_order() -> None:
    """Against the gate itself: the loss's derivative by a factor on each channel, batch by batch."""
    from netsuke.methods.importance import taylor

    model = net("plain")
    x, labels = images(6).double(), torch.arange(6) % 5
    follower = follow(model, (x[:1],), True)
    got = taylor(follower, model, [(x[:4], labels[:4]), (x[4:], labels[4:])], F.cross_entropy)
    expected = torch.zeros(12).double()
    for part in (slice(0, 4), slice(4, 6)):
        gate = torch.ones(12, dtype=torch.float64, requires_grad=True)
        handle = model.body[0].register_forward_hook(lambda _m, _a, y, gate=gate: y * gate.view(1, -1, 1, 1))
        F.cross_entropy(model(x[part]), labels[part]).backward()
        handle.remove()
        expected += gate.grad.square() / 2
    roots = follower.roots(follower.products[1].outputs).tolist()
    torch.testing.assert_close(
        torch.tensor([got[root] for root in roots], dtype=torch.float64), expected, rtol=1e-9, atol=0
    )


def test_skipped_layers_and_blocks_keep_their_outputs_and_are_named() -> None:
    model = net("residual")
    for skip in (["body.0", "body.1.conv1"], lambda name, _: name.startswith(("body.0.", "body.1.conv1"))):
        pruned = netsuke.prune_channels(model, images(1).double(), macs=0.7, multiple_of=1, skip=skip)
        reasons = dict(report(pruned).skipped)
        for name in ("body.0.conv1", "body.0.conv2", "body.1.conv1", "stem.0"):  # the stem is added to body.0.conv2
            assert reasons[name] == "told to skip it"
        assert reasons["last"] == OUTPUT
        assert outputs(pruned, "body.2.conv1") < 32
        text = str(report(pruned))
        assert "told to skip it" in text
        assert all(layer.name in text for layer in report(pruned).layers)


def test_narrow_layers_and_layers_that_do_not_run_are_named() -> None:
    model = Head(nn.Sequential(conv_bn(8, 32), nn.ReLU(), conv_bn(32, 8))).eval()
    model.spare = nn.Conv2d(3, 3, 1)
    pruned = netsuke.prune_channels(model, images(1), macs=0.6)
    reasons = dict(report(pruned).skipped)
    assert reasons["stem.0"] == "8 channels that go together: at least 8 remain"
    assert reasons["spare"] == "it is not seen to run on the example input"
    assert outputs(pruned, "body.0.0") == 16


# -------------------------------------------------------------------------------------------- what surrounds
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_alone_and_its_mode_kept(training: bool) -> None:
    model = net("option A").train(training)
    model.body[0].eval()
    model.body[0].conv1.weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    pruned = netsuke.prune_channels(model, images(1).double(), multiple_of=1)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert [m.training for m in pruned.modules()] == [m.training for m in model.modules()]
    grads = {n: p.requires_grad for n, p in pruned.named_parameters()}
    assert grads == {n: p.requires_grad for n, p in model.named_parameters()}
    assert not hasattr(model, "netsuke_report")
    pruned.train()(images(2).double()).sum().backward()


@pytest.mark.parametrize("name", NETS)
def test_a_state_dict_is_reloaded_into_a_shrunk_model(name: str) -> None:
    pruned = halved(name)[1]
    kept = json.loads(json.dumps(report(pruned).channels))
    other = netsuke.shrink(NETS[name]().double(), kept).eval()
    other.load_state_dict(pruned.state_dict())
    x = images(2).double()
    with torch.no_grad():
        assert torch.equal(other(x), pruned(x))


def test_the_same_weights_give_the_same_channels() -> None:
    model = net("residual")
    one, two = (netsuke.prune_channels(model, images(1).double(), multiple_of=1) for _ in range(2))
    assert report(one) == report(two)


def test_tied_and_doubly_named_layers_stay_so() -> None:
    model = net("plain")
    model.again = model.body[0][0]
    pruned = netsuke.prune_channels(model, images(1).double(), multiple_of=1)
    assert pruned.again is pruned.body[0][0]
    assert pruned.again.out_channels < 12


def test_batch_norm_statistics_are_taken_anew() -> None:
    model, x = net("plain"), images(100)
    plain = netsuke.prune_channels(model.float(), x[:1], multiple_of=1)
    batches = iter(x.split(64))
    fresh = netsuke.prune_channels(model.float(), x[:1], multiple_of=1, calibration=batches, reset_batch_norm=True)
    assert report(plain).channels == report(fresh).channels
    with torch.no_grad():
        y = fresh.stem[0](x)
    # The mean over both batches, of 64 and 36 images.
    expected = (y[:64].mean((0, 2, 3)) + y[64:].mean((0, 2, 3))) / 2
    torch.testing.assert_close(fresh.stem[1].running_mean, expected, rtol=1e-4, atol=1e-5)
    assert fresh.stem[1].momentum == 0.1
    assert not fresh.stem[1].training
    assert not torch.allclose(plain.stem[1].running_mean, fresh.stem[1].running_mean, atol=1e-2)


@cache
def resnet20() -> nn.Module:
    """With stages pruned, so that the padding of the shortcuts is too."""
    model = netsuke.create_model("resnet20")
    return netsuke.prune_channels(
        model, images(1, 32), macs=0.45, multiple_of=4, skip=lambda name, _: name.endswith(".conv1")
    )


@pytest.mark.parametrize("kind", RUNNERS)
def test_a_pruned_resnet20_runs_in_the_engine(kind: str) -> None:
    widths = [outputs(resnet20(), f"layer{n}.0.conv2") for n in (1, 2, 3)]
    assert all(width < full for width, full in zip(widths, (16, 32, 64), strict=True))
    assert all(a <= b for a, b in pairwise(widths))
    check_module(copy.deepcopy(resnet20()), images(2, 32), [kind])


# ------------------------------------------------------------------------------------------------- refusals
class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("plain", {"macs": 0}, "macs is 0: give the share"),
        ("plain", {"macs": 1.5}, "macs is 1.5: give the share"),
        ("plain", {"macs": "half"}, "macs is 'half': give the share"),
        ("plain", {"importance": "l3"}, "importance is 'l3': use one of l1, l2, batch_norm, taylor"),
        ("plain", {"multiple_of": 0}, "multiple_of is 0"),
        ("plain", {"minimum": 2}, "minimum is 2"),
        ("plain", {"importance": "taylor"}, r"needs calibration=\(images, labels\)"),
        ("plain", {"importance": "taylor", "calibration": torch.zeros(1, 3, 8, 8)}, "there are no labels in it"),
        ("plain", {"importance": "taylor", "calibration": []}, "there is no batch in it"),
        ("plain", {"importance": "taylor", "calibration": 7}, "calibration must be images"),
        ("plain", {"reset_batch_norm": True}, "reset_batch_norm needs calibration=images"),
        ("plain", {"skip": ["stm"]}, "skip names 'stm', which the model lacks. Close to it: stem"),
        ("plain", {"skip": ["stem", "body"]}, "cannot be reached, 1.000 can. What stays whole: told to skip it"),
        ("plain", {"example_input": torch.zeros(1, 4, 8, 8)}, "Head fails on the example input"),
        ("plain", {"example_input": 3}, "example_input must be one batch of images"),
        ("scaled", {"importance": "batch_norm", "macs": 0.3}, "nothing that measures its importance"),
    ],
)
def test_bad_input(model: str, arguments: dict[str, Any], message: str) -> None:
    given = {"example_input": images(1), **arguments}
    with pytest.raises(netsuke.Error, match=message) as caught:
        netsuke.prune_channels(net(model).float(), **given)
    assert "\n" not in str(caught.value)


def test_models_that_cannot_be_followed_are_refused() -> None:
    with pytest.raises(netsuke.Error, match="torch.export cannot follow Head"):
        netsuke.prune_channels(Head(Branching()).eval(), images(1))
    with pytest.raises(netsuke.Error, match="there is nothing to prune"):
        netsuke.prune_channels(nn.ReLU(), images(1))
    with pytest.raises(netsuke.Error, match="takes a torch.nn.Module"):
        netsuke.prune_channels("resnet20", images(1))  # type: ignore[arg-type]
    damaged = net("plain").float()
    with torch.no_grad():
        damaged.stem[0].weight[0] = torch.nan
    with pytest.raises(netsuke.Error, match="is not finite for some channels"):
        netsuke.prune_channels(damaged, images(1))


def test_a_forward_that_needs_its_numbers_is_refused() -> None:
    class Expanding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.after = nn.Conv2d(8, 12, 1), nn.Conv2d(12, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.inner(x)
            return self.after(y + torch.zeros(y.shape[0], 1, 1, 1) + 0.0 * torch.arange(12.0).view(1, 12, 1, 1))

    pruned = netsuke.prune_channels(Head(Expanding()).eval(), images(1), macs=0.8, multiple_of=1)
    assert outputs(pruned, "body.inner") == 12

    class Asserting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.after = nn.Conv2d(8, 12, 1), nn.Conv2d(12, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.inner(x)
            if y.shape[1] != 12:
                raise ValueError("twelve")
            return self.after(y)

    with pytest.raises(netsuke.Error, match="depends on its numbers of channels"):
        netsuke.prune_channels(Head(Asserting()).eval(), images(1), macs=0.3, multiple_of=1)


@pytest.mark.parametrize(
    "channels",
    [
        {},
        {"tensors": {"nowhere": {"0": [0]}}, "paddings": {}},
        {"tensors": {"last.weight": {"0": [77]}}, "paddings": {}},
        {"tensors": {"last.weight": {"0": []}}, "paddings": {}},
        {"tensors": {"last.weight": {"5": [0]}}, "paddings": {}},
        {"tensors": {"last.weight": {"x": [0]}}, "paddings": {}},
        {"tensors": {}, "paddings": {"nowhere": [1, 1]}},
        [],
    ],
)
def test_channels_of_another_model_are_refused(channels: Any) -> None:
    with pytest.raises(netsuke.Error, match="channels"):
        netsuke.shrink(net("plain"), channels)
