"""Fixed point: how lengths are chosen, that the engine computes what was simulated, and what integers cannot do."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import graphs
import netsuke
from netsuke import Error, FixedPoint, artifact
from netsuke.artifact.detect import detect
from netsuke.artifact.graph import (
    Add,
    Conv2d,
    FixedConv2d,
    Graph,
    Identity,
    MaxPool,
    Normalize,
    Output,
    Store,
    ToFixed,
)
from netsuke.engine import available_isas
from netsuke.lowering import lower
from netsuke.lowering.build import build
from netsuke.lowering.capture import capture
from netsuke.lowering.equalise import equalise
from netsuke.lowering.fixed_point import _finer_first, best_length, fix
from netsuke.lowering.passes import optimise, renumber, round_arrays
from netsuke.lowering.simulate import simulate
from netsuke.models import create_model, load_weights

SQUEEZENET = Path(__file__).resolve().parents[3] / "shared/models/squeezenet_deep_compression/compressed_SqueezeNet.net"


class Everything(nn.Module):
    """What fixed point knows: sums, concatenation, pools with padding, shortcuts of zeros, ReLU6, depthwise layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.left, self.right = nn.Conv2d(12, 10, 1), nn.Conv2d(12, 6, 3, padding=1)
        self.narrow = nn.Conv2d(16, 12, 1)
        self.last = nn.Conv2d(24, 20, 3, stride=2)
        self.linear = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        out = F.relu6(self.depthwise(x))
        out = torch.cat([F.relu(self.left(out)), F.relu(self.right(out))], 1)
        x = F.relu(self.narrow(out) + x)
        x = F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True)
        x = F.avg_pool2d(x, 3, 1, padding=1) + x
        x = F.pad(x, (0, 0, 0, 0, 4, 8))
        return self.linear(F.relu(self.last(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    model = Everything()
    with torch.no_grad():
        nn.init.normal_(model.norm.weight)
        nn.init.normal_(model.norm.bias)
        model(torch.randn(16, 3, 11, 11))
    return model.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(24, 3, 11, 11, generator=torch.Generator().manual_seed(1))


def float_graph(model: nn.Module, images: Tensor) -> Graph:
    return optimise(build(capture(model, images[:2]), "model").graph)


HOW = [
    FixedPoint(),
    FixedPoint(precision="channel"),
    FixedPoint(precision="static"),
    FixedPoint(equalise=True),
    FixedPoint({"*": 8, "linear": 4}),
    FixedPoint(4, 4),
    FixedPoint(error="absolute"),
]


@pytest.mark.parametrize("how", HOW, ids=str)
def test_the_engine_computes_what_is_simulated(
    how: FixedPoint, network: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    file = netsuke.export(network, images[:2], tmp_path / "f.netsuke", fixed_point=how, calibration=images)
    graph = artifact.read(file)
    assert artifact.float_operations(graph) == []
    simulated = simulate(graph, images.double()).float().numpy()
    for isa in available_isas():
        for threads in (1, 3):
            assert np.array_equal(netsuke.load(file, isa=isa, threads=threads)(images.numpy()), simulated)
    assert np.array_equal(artifact.Reference(graph)(images[:3].numpy()), simulated[:3])


@pytest.mark.slow
@pytest.mark.skipif(not SQUEEZENET.is_file(), reason="needs the published network in ../shared/models")
def test_the_published_squeezenet_gives_one_result_everywhere(tmp_path: Path) -> None:
    model = load_weights(create_model("squeezenet1_0"), SQUEEZENET).eval()
    images = 60 * torch.randn(4, 3, 227, 227, generator=torch.Generator().manual_seed(0))
    how = FixedPoint({"*": 8, "conv_final": 4})
    file = netsuke.export(model, images[:2], tmp_path / "f.netsuke", fixed_point=how, calibration=images)
    expected = artifact.Reference(artifact.read(file))(images[:2].numpy())
    assert len(np.unique(expected)) > 100
    for isa in available_isas():
        for threads in (1, 2):
            assert np.array_equal(netsuke.load(file, isa=isa, threads=threads)(images[:2].numpy()), expected), isa


def test_8_bits_are_near_the_float_network_and_16_nearer(network: nn.Module, images: Tensor) -> None:
    graph = float_graph(network, images)
    with torch.no_grad():
        expected = network(images)
    torch.testing.assert_close(simulate(graph, images), expected, rtol=0, atol=1e-5)
    far = []
    for bits in (4, 8, 12, 16):
        made = simulate(fix(graph, FixedPoint(bits, bits), images), images.double())
        far.append(((made - expected).abs().max() / expected.abs().max()).item())
    assert far[0] > far[1] > far[2] > far[3]
    assert far[1] < 0.1
    assert far[3] < 1e-3


def test_what_a_file_cannot_hold_is_refused(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    for how, match in (
        (FixedPoint(8, 16), r"a file holds 4 or 8 bits, not 16 \(data\)"),
        (FixedPoint({"linear": 6}), r"a file holds 4 or 8 bits, not 6 \(weights of 'linear'\)"),
    ):
        with pytest.raises(Error, match=match):
            netsuke.export(network, images[:2], tmp_path / "f.netsuke", fixed_point=how, calibration=images)
    assert not list(tmp_path.iterdir())


def test_floats_between_are_found(network: nn.Module, images: Tensor) -> None:
    found = artifact.float_operations(lower(network, images[:2]).graph)
    assert found[0] == "node 0 (stem) is a Conv2d"


def test_the_float_graph_stays_as_it_is(network: nn.Module, images: Tensor) -> None:
    graph = float_graph(network, images)
    before = pickle.dumps(graph)
    fix(graph, FixedPoint(equalise=True), images)
    assert pickle.dumps(graph) == before


def test_of_a_sum_the_finer_map_comes_first() -> None:
    """What is added is shifted to the left: its scale is the larger one."""
    node = Identity("sum", [1], [Add(2), Store(3)])
    assert _finer_first(node, {1: 0.5, 2: 0.25}) == Identity("sum", [2], [Add(1), Store(3)])
    assert _finer_first(node, {1: 0.25, 2: 0.5}) is node


def detector() -> Graph:
    """Two maps of float layers, the second behind a pool, and a detect of them; the first logits are an output too."""
    rng = np.random.default_rng(0)
    own: dict[str, Any] = {"padding": (1, 1, 1, 1)}
    nodes: list[Any] = [graphs.conv2d(rng, 3, 8, (3, 3), name="stem", epilogue=[Store(1)], **own)]
    nodes.append(MaxPool("pool", [1], [Store(2)], kernel=(2, 2), stride=(2, 2)))
    for value, read in enumerate((1, 1, 2, 2)):
        channels = (4, 3)[value % 2] * 2
        head = graphs.conv2d(
            rng, 8, channels, (3, 3), name=f"head{value}", inputs=[read], epilogue=[Store(3 + value)], **own
        )
        nodes.append(head)
    nodes.append(graphs.detect(rng, [2, 2], 2, name="boxes", inputs=[3, 4, 5, 6], epilogue=[Store(7)]))
    return Graph("detector", (3, 8, 8), nodes, [Output(7, 3), Output(4, 4)])


@pytest.mark.parametrize("equalised", [False, True])
def test_boxes_come_of_floats_at_the_end(equalised: bool) -> None:
    """What a detect reads is stored float, as an output is; the layers before it are in fixed point."""
    graph, images = detector(), torch.randn(16, 3, 8, 8)
    made, _ = renumber(round_arrays(fix(graph, FixedPoint(equalise=equalised), images)))
    assert artifact.float_operations(made)[-1] == f"node {len(made.nodes) - 1} (boxes) is a Detect"
    assert sum(isinstance(node, FixedConv2d) for node in made.nodes) == 5
    x = images.numpy()
    reference = artifact.Reference(made)
    rows, logits = reference(x)
    far = np.abs(logits - artifact.Reference(graph)(x)[1]).max()
    assert 0 < far < 0.1 * np.abs(logits).max()
    values = reference.trace(x)
    assert np.array_equal(rows, detect(made.nodes[-1], [values[v] for v in made.nodes[-1].inputs])[..., 0])
    if available_isas():
        graphs.assert_same_bits(netsuke.load(artifact.encode(made))(x), (rows, logits))


def test_boxes_that_are_computed_with_are_refused() -> None:
    graph, images = detector(), torch.randn(16, 3, 8, 8)
    graph.nodes.append(Identity("on", [7], [Store(8)]))
    with pytest.raises(Error, match="boxes are computed with further"):
        fix(graph, FixedPoint(), images)
    graph.nodes[-1] = Normalize("unit", [4], [Store(8)], eps=1e-10)
    with pytest.raises(Error, match="'unit' divides every pixel"):
        fix(graph, FixedPoint(), images)


# ------------------------------------------------------------------------------------------- lengths
def loss(weight: np.ndarray, length: int, bits: int, power: int) -> float:
    most = 2 ** (bits - 1) - 1
    return sum(abs(w - max(-most, min(most, round(w * 2.0**length))) / 2.0**length) ** power for w in weight.tolist())


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_length_of_a_weight_is_the_best(bits: int, power: int) -> None:
    rng = np.random.default_rng(0)
    for scale in (1e-3, 0.1, 1.0, 30.0):
        weight = rng.standard_normal(200) * scale
        found = loss(weight, best_length(weight, bits, power), bits, power)
        assert found == pytest.approx(min(loss(weight, length, bits, power) for length in range(-10, 25)), rel=1e-12)


def test_lengths_of_maps_are_chosen_behind_what_is_fixed_already(images: Tensor) -> None:
    """The second layer's map is compared with the float one as the first, in 4 bits, leaves it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 3)).eval()
    made = fix(float_graph(model, images), FixedPoint({"*": 8, "0": 4}), images)
    first, second = (node for node in made.nodes if isinstance(node, FixedConv2d) and node.name in ("0", "2"))
    with torch.no_grad():
        x = images
        codes = [step for node in made.nodes for step in node.epilogue if isinstance(step, ToFixed)]
        for layer, node, step in ((model[0], first, codes[1]), (model[2], second, codes[2])):
            x = rounded(x, codes[0]) if node is first else x
            x = F.relu(convolved(x, node))
            target = model[:2](images) if node is first else model[:4](images)
            losses = {
                length: (target - rounded(x, ToFixed(2.0**-length, 0, 0))).square().sum().item()
                for length in range(0, 12)
            }
            assert step.scale == 2.0 ** -min(losses, key=lambda length: losses[length])
            x = rounded(x, step)
            assert layer is not None


class Sum(nn.Module):
    """A layer whose result is added to a map and goes through ReLU."""

    def __init__(self, clamped: bool) -> None:
        super().__init__()
        self.stem, self.layer, self.clamped = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=1), clamped

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        out = self.layer(x) + x
        return F.relu(out) if self.clamped else out


@pytest.mark.parametrize("precision", ["dynamic", "channel"])
@pytest.mark.parametrize("clamped", [False, True])
def test_biases_take_the_mean_error(clamped: bool, precision: Any, images: Tensor) -> None:
    """Of each channel of the sum, over the numbers that ReLU lets through in one of both networks."""
    torch.manual_seed(0)
    model = Sum(clamped).eval()
    made = fix(float_graph(model, images), FixedPoint({"*": 3}, precision=precision), images)
    stem, layer = (node for node in made.nodes if isinstance(node, FixedConv2d))
    enter, map_ = (step for node in made.nodes for step in node.epilogue if isinstance(step, ToFixed))
    with torch.no_grad():
        x = rounded(F.relu(convolved(rounded(images, enter), stem)), map_)
        target = F.relu(model.stem(images))
        target = target + model.layer(target)
        unit = torch.from_numpy(map_.scale * layer.weight_scale)
        whole = (model.layer.bias / unit).round() * unit  # of the bias before
        before = convolved(x, layer, 1) + x + (whole - torch.from_numpy(layer.bias)).view(-1, 1, 1)
        through = (target >= 0) | (before >= 0) if clamped else torch.ones_like(target, dtype=torch.bool)
        mean = ((target - before) * through).sum((0, 2, 3)) / through.sum((0, 2, 3))
    left = whole + mean - torch.from_numpy(layer.bias)
    assert bool((left.abs() <= 0.501 * unit).all())
    assert bool((mean.abs() > unit).any())


def convolved(x: Tensor, node: FixedConv2d, padding: int = 0) -> Tensor:
    scale = torch.from_numpy(node.weight_scale).view(-1, 1, 1, 1)
    weight = torch.from_numpy(node.weight.transpose(0, 3, 1, 2).copy()) * scale
    return F.conv2d(x, weight, torch.from_numpy(node.bias), padding=padding)


def rounded(x: Tensor, step: ToFixed) -> Tensor:
    return ((x / step.scale).round() + step.zero).clamp(0, (1 << step.bits) - 1).sub(step.zero) * step.scale


def test_static_precision_has_one_length_for_all_weights(network: nn.Module, images: Tensor) -> None:
    made = fix(float_graph(network, images), FixedPoint(precision="static"), images)
    layers = [node for node in made.nodes if isinstance(node, FixedConv2d)]
    assert len({float(node.weight_scale[0]) for node in layers}) == 1
    by_size: dict[bool, set[float]] = {True: set(), False: set()}
    pixels = {node.name for node in layers if node.name == "linear"}
    for node in made.nodes:
        for step in node.epilogue:
            if isinstance(step, ToFixed):
                by_size[node.name in pixels or "mean" in node.name].add(step.scale)
    assert len(by_size[False]) == 1
    channel = fix(float_graph(network, images), FixedPoint(precision="channel"), images)
    assert any(len(node.weight_scale) > 1 for node in channel.nodes if isinstance(node, FixedConv2d))


# ------------------------------------------------------------------------------------------- equalisation
def test_equalisation_changes_ranges_and_not_the_function(images: Tensor) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU6(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU6(), nn.Conv2d(8, 4, 1), nn.ReLU(),
        nn.Conv2d(4, 6, 3),
    ).eval()  # fmt: skip
    with torch.no_grad():
        model[0].weight *= torch.logspace(-2, 2, 8).view(-1, 1, 1, 1)
        model[0].weight[3] = 0  # a dead channel has no range
    graph = float_graph(model, images)
    made = equalise(graph)
    x = images.double()
    torch.testing.assert_close(simulate(made, x), simulate(graph, x), rtol=0, atol=1e-9)
    one, depthwise, other, last = (np.abs(node.weight) for node in made.nodes if isinstance(node, Conv2d))
    alive = np.arange(8) != 3
    of_outputs = [one.max((1, 2, 3)), depthwise.max((1, 2, 3)), other.max((1, 2, 3))]
    of_inputs = [depthwise.max((1, 2, 3)), other.max((0, 1, 2)), last.max((0, 1, 2))]
    for k, (first, second) in enumerate(zip(of_outputs, of_inputs, strict=True)):
        kept = alive if k == 0 else slice(None)
        np.testing.assert_allclose(first[kept], second[kept], rtol=0.01)


def test_layers_that_others_read_too_are_left(network: nn.Module, images: Tensor) -> None:
    graph = float_graph(network, images)
    x = images.double()
    torch.testing.assert_close(simulate(equalise(graph), x), simulate(graph, x), rtol=0, atol=1e-9)


# ------------------------------------------------------------------------------------------- bad input
def bad(images: Tensor, value: float) -> Tensor:
    return torch.cat([images[:3], torch.full_like(images[:1], value)])


@pytest.mark.parametrize(
    ("model", "images", "match"),
    [
        (nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8), "calibration has 1 image: the ranges of maps need more"),
        (nn.Conv2d(3, 4, 3), torch.randn(0, 3, 8, 8), "calibration holds no images"),
        (nn.Conv2d(3, 4, 3), bad(torch.randn(3, 3, 8, 8), float("nan")), "not finite"),
        (nn.Conv2d(3, 4, 3), torch.randn(4, 3, 9, 8), "calibration holds a batch of shape"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU()),
            torch.randn(4, 3, 8, 8),
            "PReLU: in fixed point there are ReLU",
        ),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid()), torch.randn(4, 3, 8, 8), "'sigmoid': fixed point has"),
        (
            nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.Conv2d(3, 4, 3)),
            torch.randn(4, 3, 8, 8),
            "count_include_pad=True",
        ),
    ],
)
def test_clear_errors(model: nn.Module, images: Tensor, match: str, tmp_path: Path) -> None:
    example = torch.zeros(2, 3, 8, 8)
    with pytest.raises(Error, match=match):
        netsuke.export(model.eval(), example, tmp_path / "f.netsuke", fixed_point=FixedPoint(), calibration=images)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"weights": 1}, "2 to 16 bits, not 1"),
        ({"data": 17}, "2 to 16 bits, not 17"),
        ({"weights": {"*": "8"}}, "2 to 16 bits, not '8'"),
        ({"precision": "best"}, "use 'dynamic'"),
        ({"error": "cubic"}, "use 'squared'"),
    ],
)
def test_bad_precisions(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(Error, match=match):
        FixedPoint(**arguments)


def test_bad_combinations(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    for arguments, match in (
        ({"fixed_point": FixedPoint()}, "needs calibration="),
        (
            {"fixed_point": FixedPoint(), "float_layers": "int8", "calibration": images},
            "one of float_layers and fixed_point",
        ),
        ({"fixed_point": FixedPoint({"steem": 4}), "calibration": images}, "no layer fits 'steem'"),
    ):
        with pytest.raises(Error, match=match):
            netsuke.export(network, images[:2], tmp_path / "f.netsuke", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("found", ["infinity", "NaN"])
def test_a_map_that_has_no_range_is_refused(found: str, tmp_path: Path) -> None:
    """The weights and the images are finite, and so is an infinite map behind the clamp."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(), nn.Conv2d(4, 2, 1)).eval()
    with torch.no_grad():
        model[0].weight.fill_(3e38)
        if found == "NaN":
            model[0].weight[:, 1] = -3e38  # infinity - infinity
    images = torch.full((4, 3, 8, 8), 2.0)
    with pytest.raises(Error, match="layer '0' of the float network makes a number that is not finite"):
        netsuke.export(model, images[:2], tmp_path / "f.netsuke", fixed_point=FixedPoint(), calibration=images)
    assert not list(tmp_path.iterdir())


def test_a_network_that_diverged_is_refused(images: Tensor, tmp_path: Path) -> None:
    model = nn.Conv2d(3, 4, 3).eval()
    with torch.no_grad():
        model.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(Error, match="not finite"):
        netsuke.export(model, images[:2], tmp_path / "f.netsuke", fixed_point=FixedPoint(), calibration=images)
