"""ONNX files: what ONNX Runtime makes of them against the reference, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

import graphs
import netsuke
from lowering_checks import runner
from netsuke import Error, FixedPoint, artifact
from netsuke.artifact.detect import detect
from netsuke.artifact.graph import (
    Binarize,
    BinaryConv2d,
    Concat,
    Detect,
    Gather,
    Graph,
    Identity,
    Int8Conv2d,
    Logic,
    MaxPool,
    Node,
    Normalize,
    Output,
    Quantize,
    Step,
    Store,
    ToFixed,
)
from netsuke.cli import main
from netsuke.lowering import lower
from netsuke.lowering.passes import renumber
from netsuke.models import get_model
from netsuke.onnx import encode
from netsuke.onnx.early import early_codes

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

ZOO = Path(__file__).resolve().parents[1] / "zoo"
LEVELS = {"plain": "ORT_DISABLE_ALL", "optimised": "ORT_ENABLE_ALL"}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def session(model: bytes | Path, level: str = "plain", optimised: Path | None = None) -> Any:
    """ONNX Runtime's network. optimised: where to write what it has made of the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run(model: bytes | Path, images: np.ndarray, level: str = "plain") -> list[np.ndarray]:
    return session(model, level).run(None, {"input": images})


def expected(graph: Graph, images: np.ndarray) -> list[np.ndarray]:
    """What the engine says where there is one, which has the reference's bits; else the reference."""
    made = runner("engine" if netsuke.engine.available_isas() else "reference", graph)(images)
    return list(made) if isinstance(made, tuple) else [made]


def assert_close(found: list[np.ndarray], wanted: list[np.ndarray], tolerance: float = 1e-5) -> None:
    """Every difference within `tolerance` of the largest number of that output."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1e-30, np.abs(other).max(initial=0)))


# ------------------------------------------------------------------------------------------- every operator
def test_every_kind_of_node_and_step_has_its_function() -> None:
    from netsuke.onnx.nodes import NODES
    from netsuke.onnx.steps import STEPS

    assert set(NODES) == set(Node.__subclasses__()) - {BinaryConv2d}
    assert set(STEPS) == set(get_args(Step))


def test_bits_are_numbers() -> None:
    """Logic and channels of bits: with the reference's bits."""
    threshold, shape = np.float32([0.5, -0.5, 0]), (3, 4, 5)
    nodes: list[Node] = [
        Identity("bits", [0], [Binarize(threshold, False, 1), Binarize(threshold[:1], True, 2)]),
        Logic("equal", [1, 2], [Binarize(np.zeros(1, np.float32), False, 3), Store(4)], kind="xnor"),
        Logic("either", [3, 1], [Store(5)], kind="or"),
        Gather("take", [3, 1], [Store(6)], pieces=[(2, 1, 4), (1, 0)]),
        Gather("swap", [6], [Store(7)], pieces=[(1, 4, 0)]),
    ]
    graph = Graph("bits", shape, nodes, [Output(v, 4) for v in (4, 5, 6, 7)])
    images = graphs.images(np.random.default_rng(0), "normal", 2, shape)
    assert_close(run(encode(graph), images), expected(graph, images), tolerance=0)


def apart(node: Detect, maps: list[np.ndarray], gap: float) -> bool:
    """Whether no score or overlap lies within `gap` of another that it is compared with, or of a threshold."""
    answers = []
    for sign in (-1, 1):
        moved = replace(node, score_threshold=node.score_threshold + sign * gap)
        moved = replace(moved, iou_threshold=moved.iou_threshold + sign * gap)
        answers.append(detect(moved, maps))
    scores = answers[0][:, :, 4]
    scores = scores[scores > 0]
    return np.array_equal(*answers) and bool((np.diff(np.sort(scores, axis=None)) > gap).all())


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("candidates", "keep"), [(400, 60), (12, 20), (9, 700)])
def test_detect(level: str, candidates: int, keep: int) -> None:
    """Rows within 1e-5, where scores and overlaps lie further apart; batches of any size, one of nothing found."""
    rng, compared = np.random.default_rng(0), 0
    boxes, labels, shape = [3, 2], 4, (60, 5, 6)
    depths = [channels * count for count in boxes for channels in (4, labels + 1)]
    nodes: list[Node] = [MaxPool("half", [0], [Store(1)], kernel=(3, 4), stride=(1, 1))]
    for i, depth in enumerate(depths):
        firsts = sum(depths[:i])
        nodes.append(Gather("map", [0 if i < 2 else 1], [Store(2 + i)], pieces=[(depth, firsts % (60 - depth))]))
    node = graphs.detect(rng, boxes, labels, inputs=[2, 3, 4, 5], candidates=candidates, keep=keep, epilogue=[Store(6)])
    node.score_threshold, node.iou_threshold = 0.1, 0.4
    graph = Graph("detect", shape, [*nodes, node], [Output(6, 3), Output(6, 4)])
    network = session(encode(graph), level)
    for batch in (1, 1, 1, 1, 1, 1, 2, 3):
        images = graphs.images(rng, "normal", batch, shape)
        values = artifact.Reference(graph).trace(images)
        if not apart(node, [values[v] for v in node.inputs], 1e-6):
            continue
        compared += 1
        made = network.run(None, {"input": images})
        assert made[0].shape == (batch, keep, 6)
        assert np.array_equal(made[0][..., None], made[1])
        np.testing.assert_allclose(made[1], values[6], rtol=0, atol=1e-5)
    assert compared >= 3
    images = np.zeros((2, *shape), np.float32)
    node.score_threshold = 0.9
    (rows, _) = session(encode(graph), level).run(None, {"input": images})
    assert (rows == np.array([0, 0, 0, 0, 0, -1], np.float32)).all()


@pytest.mark.parametrize("level", LEVELS)
def test_normalize(level: str) -> None:
    graph = graphs.float_graph((19, 4, 5), Normalize("unit", [0], [Store(1)], eps=1e-10))
    images = graphs.images(np.random.default_rng(0), "normal", 2, (19, 4, 5))
    assert_close(run(encode(graph), images, level), [artifact.Reference(graph)(images)])


def near_a_tie(graph: Graph, images: np.ndarray) -> bool:
    """Whether a number lies so near the middle between two codes that another rounding of floats gives the other."""
    places: dict[int, Quantize] = {}

    def probed() -> Iterator[Any]:
        for node in graph.nodes:
            steps = []
            for step in node.epilogue:
                if isinstance(step, Quantize | ToFixed):
                    steps.append(Store(1_000_000 + step.out))
                    scaled = isinstance(step, ToFixed)
                    places[1_000_000 + step.out] = (
                        Quantize(1 / step.scale, step.zero, step.out, step.bits) if scaled else step
                    )
                steps.append(step)
            yield replace(node, epilogue=steps)

    probes, ids = renumber(replace(graph, nodes=list(probed())))
    values = artifact.Reference(probes).trace(images)
    for place, step in places.items():
        t = values[ids[place]].astype(np.float64) * step.multiplier + step.zero
        codes = t[(t > -1) & (t < 2**step.bits)]
        if (np.abs(codes - np.floor(codes) - 0.5) < 1e-6 * np.abs(t).max(initial=0) + 1e-5).any():
            return True
    return False


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(graphs.graphs(styles=("normal",), binary=False, fixed=False), st.integers(0, 2**32 - 1))
def test_every_operator_and_step(graph: Graph, seed: int) -> None:
    images = graphs.images(np.random.default_rng(seed), "normal", 2, graph.input_shape)
    wanted = artifact.Reference(graph)(images)
    wanted = list(wanted) if isinstance(wanted, tuple) else [wanted]
    assume(not near_a_tie(graph, images))
    model = encode(graph)
    assert_close(run(model, images), wanted)
    if not any(isinstance(node, Int8Conv2d) for node in graph.nodes):
        assert_close(run(model, images, "optimised"), wanted)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bits", [8, 4])
def test_a_fixed_point_network_is_the_same_to_the_bit(bits: int, level: str) -> None:
    """Its scales are powers of two and its sums are exact in floats, so that nothing is rounded elsewhere."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU6(), nn.Conv2d(12, 16, 3, stride=2, groups=2),
        nn.ReLU(), nn.MaxPool2d(2, 1, padding=1), nn.Conv2d(16, 8, 1), nn.AvgPool2d(4, 4),
        nn.Flatten(), nn.Linear(8, 5),
    ).eval()  # fmt: skip
    images = torch.randn(16, 3, 9, 9)
    graph = lower(model, images[:2], fixed_point=FixedPoint(bits), calibration=images).graph
    assert artifact.float_operations(graph) == []
    (made,) = run(encode(graph), images.numpy(), level)
    assert np.array_equal(made, expected(graph, images.numpy())[0])


@settings(max_examples=40, deadline=None)
@given(graphs.convolutions(channels=12) | graphs.pools())
def test_convolutions_and_pools(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    for name in ("weight", "bias", "weight_scale"):
        if getattr(graph.nodes[0], name, None) is not None:
            setattr(graph.nodes[0], name, graphs.floats(rng, "normal", *getattr(graph.nodes[0], name).shape))
    images = graphs.images(rng, "normal", 2, graph.input_shape)
    wanted = [artifact.Reference(graph)(images)]
    for level in LEVELS:
        assert_close(run(encode(graph), images, level), wanted)


@settings(max_examples=30, deadline=None)
@given(graphs.int8_convolutions(channels=12))
def test_8_and_4_bit_convolutions(graph: Graph) -> None:
    """The input is multiples of 1/8 and the scale a power of two, so that every code is exact."""
    rng = np.random.default_rng(0)
    quantize, node = graph.nodes[0].epilogue[0], graph.nodes[1]
    quantize.multiplier, node.activation_scale = 8.0, 0.125
    node.weight_scale, node.bias = (graphs.floats(rng, "normal", len(node.weight)) for _ in range(2))
    images = (rng.integers(-200, 200, (2, *graph.input_shape)) / 8).astype(np.float32)
    for level in LEVELS:
        assert_close(run(encode(graph), images, level), [artifact.Reference(graph)(images)])


@pytest.mark.parametrize(
    ("negative", "positive", "kind"),
    [
        ([0, 0], [1, 1], "Relu"),
        ([0.5, 0.5], [1, 1], "LeakyRelu"),
        ([0.5, -2], [1, 1], "PRelu"),
        ([0.5, 0], [-1, 2], "Where"),
    ],
)
def test_slopes(negative: list[float], positive: list[float], kind: str) -> None:
    slopes = graphs.TwoSlope(np.float32(positive), np.float32(negative))
    graph = Graph("slopes", (2, 3, 3), [Identity("act", [0], [slopes, Store(1)])], [Output(1, 4)])
    images = graphs.images(np.random.default_rng(0), "normal", 2, (2, 3, 3))
    model = encode(graph)
    assert kind in [node.op_type for node in onnx.load_from_string(model).graph.node]
    assert_close(run(model, images), [artifact.Reference(graph)(images)], 0)


# ------------------------------------------------------------------------------------------- networks
class Odd(nn.Module):
    """Gates, batch norm behind a concatenation, ceil_mode, averages with and without padding, PReLU, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.PReLU(8))
        self.left, self.right = nn.Conv2d(8, 6, 1), nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(14)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(14, 4, 1), nn.ReLU(), nn.Conv2d(4, 14, 1))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(14 * 9, 12), nn.ReLU6(), nn.Linear(12, 5))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        x = torch.relu(self.norm(torch.cat([self.left(x), self.right(x)], 1)))
        x = x * torch.sigmoid(self.gate(x)) + nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        x = nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)
        return self.head(nn.functional.avg_pool2d(x, 2, 1, 1)[:, :, ::2, ::2]), x


def odd() -> nn.Module:
    module = Odd()
    module(torch.randn(16, 3, 17, 17))  # gives the batch norms statistics of their own
    return module.eval()


def test_a_module_of_ones_own(tmp_path: Path) -> None:
    """`netsuke.export` to a path that ends in .onnx, against torch."""
    module, images = odd(), torch.randn(3, 3, 17, 17)
    path = netsuke.export(module, images[:1], tmp_path / "odd.onnx")
    with torch.no_grad():
        wanted = [tensor.numpy() for tensor in module(images)]
    for level in LEVELS:
        assert_close(run(path, images.numpy(), level), wanted)


@pytest.mark.parametrize("name", ["lenet5", "lenet_300_100", "resnet20", "squeezenet1_0"])
def test_float_networks_of_the_registry(name: str) -> None:
    size = {"squeezenet1_0": (3, 40, 40)}.get(name, get_model(name).input)
    graph = lower(netsuke.create_model(name), torch.zeros(2, *size)).graph
    images = torch.randn(2, *size).numpy()
    assert_close(run(encode(graph), images, "optimised"), expected(graph, images))


FILES = ["deep_compression_lenet5_mnist", "channel_pruned_resnet56_cifar10", "deep_compression_resnet56_cifar10"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("input", ["float32", "uint8"])
def test_files_of_the_zoo(name: str, input: str, tmp_path: Path) -> None:
    """Pruned, shared and channel-pruned networks; the preprocessing inside, or not."""
    file = ZOO / f"{name}.netsuke"
    graph = artifact.read(file)
    path = netsuke.export_onnx(file, tmp_path / "network.onnx", input=input)
    images = np.random.default_rng(0).integers(0, 256, (2, *graph.input_shape), np.uint8)
    assert graph.transform is not None
    scale, shift = (array.reshape(-1, 1, 1) for array in (graph.transform.scale, graph.transform.shift))
    given = images if input == "uint8" else images * scale + shift
    assert_close(run(path, given, "optimised"), expected(graph, images))


def test_a_network_that_is_too_large_for_the_engine(tmp_path: Path) -> None:
    """What an engine would pack is bounded in a .netsuke file; other engines need not mind."""
    model = nn.Conv2d(80, 80, 255, padding=127, groups=80).eval()
    x = torch.randn(1, 80, 4, 4)
    with pytest.raises(Error, match="the packed weights"):
        netsuke.export(model, x, tmp_path / "large.netsuke")
    netsuke.export(model, x, tmp_path / "large.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "large.onnx", providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(made, model(x).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_the_channels_of_8_bit_images_are_reversed_for_a_network_of_bgr(tmp_path: Path) -> None:
    preprocess = netsuke.Preprocess((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), order="BGR", crop=15)
    file = netsuke.export(odd(), torch.zeros(2, 3, 17, 17), tmp_path / "odd.netsuke", preprocess)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 17, 17), np.uint8)
    path = netsuke.export_onnx(file, tmp_path / "odd.onnx", input="uint8")
    assert_close(run(path, images), expected(artifact.read(file), images))
    said = json.loads(session(path).get_modelmeta().custom_metadata_map["preprocess"])
    assert (said["order"], said["crop"]) == ("BGR", 15)
    np.testing.assert_allclose(said["pixel_scale"], 1 / (255 * np.array([0.2, 0.3, 0.4])), rtol=1e-6)


# ------------------------------------------------------------------------------------------- integers
class Fires(nn.Module):
    """As SqueezeNet has it: between 8-bit layers are pools and concatenations."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.squeeze = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 8, 1)
        self.left, self.right = nn.Conv2d(8, 6, 1), nn.Conv2d(8, 10, 3, padding=1)
        self.middle, self.head = nn.Conv2d(16, 8, 3), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.stem(x)), 3, 2, ceil_mode=True)
        x = torch.relu(self.squeeze(x))
        x = torch.cat([torch.relu(self.left(x)), torch.relu(self.right(x))], 1)
        x = torch.relu(self.middle(nn.functional.max_pool2d(x, 2)))
        return self.head(x.mean((2, 3)))


def quantized(module: nn.Module, kind: str, images: Tensor) -> Graph:
    return lower(module, images[:2], float_layers=kind, calibration=images).graph


def test_onnx_runtime_computes_in_integers(tmp_path: Path) -> None:
    """All convolutions but the last, whose result stays a float, are fused; so are pools and concatenations."""
    model = encode(quantized(Fires(), "int8", torch.randn(32, 3, 20, 20)))
    session(model, "optimised", tmp_path / "optimised.onnx")
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert kinds["QLinearConv"] == 4
    assert kinds["FusedConv"] == 1
    assert not kinds["Concat"]
    assert not kinds["MaxPool"]


@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("make", [Fires, odd])
def test_quantized_networks(kind: str, make: Any) -> None:
    """Images in which no code can flip agree as floats do; the others within what single codes change.

    ONNX Runtime rounds biases and sums of its own, where it has fused layers: there codes flip, by one.
    """
    graph = quantized(make(), kind, torch.randn(32, 3, 17, 17))
    images = torch.randn(40, 3, 17, 17).numpy()
    model, wanted = encode(graph), expected(graph, images)
    found = run(model, images)
    sure = [n for n in range(len(images)) if not near_a_tie(graph, images[n : n + 1])]
    assert len(sure) >= 10
    assert_close([out[sure] for out in found], [out[sure] for out in wanted])
    assert_close(found, wanted, 0.03 if kind == "int8" else 0.5)
    assert_close(run(model, images, "optimised"), wanted, 0.03 if kind == "int8" else 0.5)


def test_4_bits_are_stored_in_4_bits() -> None:
    module, images = netsuke.create_model("lenet_300_100"), torch.randn(16, 1, 28, 28)
    models = {kind: encode(quantized(module, kind, images)) for kind in ("int8", "int4")}
    assert len(models["int4"]) < 0.52 * len(models["int8"])
    versions = {kind: onnx.load_from_string(model).opset_import[0].version for kind, model in models.items()}
    assert versions == {"int8": 17, "int4": 21}


def test_floats_become_codes_early_only_where_codes_are_all_that_is_needed() -> None:
    coding = (8.0, 100, 8)
    nodes = [
        Identity("a", [0], [Store(1)]),
        Identity("b", [0], [Store(2)]),
        Concat("join", [1, 2], [Store(3)]),
        MaxPool("max", [3], [Quantize(8.0, 100, 4)], kernel=(2, 2), stride=(1, 1)),
        MaxPool("other", [2], [Quantize(8.0, 99, 5)], kernel=(2, 2), stride=(1, 1)),
    ]
    graph = Graph("early", (2, 3, 3), nodes, [Output(1, 4)])
    assert early_codes(graph) == {3: coding}  # 1 is an output, 2 has codes of two kinds
    assert early_codes(replace(graph, nodes=nodes[:4], outputs=[])) == {1: coding, 2: coding, 3: coding}


# ------------------------------------------------------------------------------------------- the file
def test_the_file_is_the_same_each_time_and_readable() -> None:
    graph = lower(netsuke.create_model("lenet5"), torch.zeros(2, 1, 28, 28), model="lenet5").graph
    assert encode(graph) == encode(graph)
    model = onnx.load_from_string(encode(graph))
    assert (model.producer_name, model.producer_version) == ("netsuke", netsuke.__version__)
    assert model.graph.name == "lenet5"
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["input", "output"]
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [
        "N",
        1,
        28,
        28,
    ]
    names = [node.name for node in model.graph.node]
    assert {node.name for node in graph.nodes} <= set(names)
    assert f"{graph.nodes[0].name}.weight" in [tensor.name for tensor in model.graph.initializer]


def test_names_that_are_taken_or_empty() -> None:
    nodes = [Identity(name, [0], [graphs.Sigmoid(), Store(i + 1)]) for i, name in enumerate(["input", "", "", "input"])]
    graph = Graph("names", (1, 2, 2), nodes, [Output(i, 4) for i in range(1, 5)])
    images = np.ones((1, 1, 2, 2), np.float32)
    assert_close(run(encode(graph), images), expected(graph, images))


def test_no_torch_is_needed(tmp_path: Path) -> None:
    file = ZOO / f"{FILES[0]}.netsuke"
    code = f"""
import sys
sys.modules["torch"] = None
import netsuke
netsuke.export_onnx({str(file)!r}, {str(tmp_path / "x.onnx")!r})
sys.modules["onnx"] = None
try:
    netsuke.export_onnx({str(file)!r}, {str(tmp_path / "y.onnx")!r})
except netsuke.Error as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (tmp_path / "x.onnx").read_bytes() == encode(artifact.read(file))
    assert "pip install onnx" in ran.stdout


# ------------------------------------------------------------------------------------------- refused
def test_binary_layers_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "x.onnx"
    with pytest.raises(Error, match=r"'layer1.0.conv1' is binary, one of 18, and ONNX has no 1-bit"):
        netsuke.export_onnx(ZOO / "adabin_resnet20_cifar10.netsuke", out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("source", "path", "input", "words"),
    [
        (Graph, "x.onnx", "float32", "takes the path of a .netsuke file"),
        (nn.Linear(2, 2), "x.onnx", "float32", "netsuke.export"),
        (b"", "x.onnx", "float32", "not a netsuke file"),
        ("none.netsuke", "x.onnx", "float32", "none.netsuke"),
        (graphs.float_graph((1, 2, 2), Identity("a", [0], [Store(1)])), 3, "float32", "path is where"),
        (graphs.float_graph((1, 2, 2), Identity("a", [0], [Store(1)])), "x.onnx", "uint8", "has no preprocessing"),
        (graphs.float_graph((1, 2, 2), Identity("a", [0], [Store(1)])), "x.onnx", "int8", "float32 or uint8"),
        (graphs.float_graph((1, 2, 2), Identity("a", [0], [Store(7)])), "x.onnx", "float32", "the next one is 1"),
        (graphs.float_graph((1, 2, 2), Identity("a", [0], [Store(1)])), "no/such/x.onnx", "float32", "cannot write"),
    ],
)
def test_refused(
    source: Any, path: Any, input: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Error, match=words) as caught:
        netsuke.export_onnx(source, path, input=input)
    assert len(str(caught.value).splitlines()) <= 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("multiplier", [-2.0, 0.0])
def test_scales_that_onnx_has_not_are_refused(multiplier: float) -> None:
    graph = Graph("q", (1, 2, 2), [Identity("a", [0], [Quantize(multiplier, 3, 1), Store(2)])], [Output(2, 4)])
    with pytest.raises(Error, match="layer 'a' quantizes by a multiplier of"):
        encode(graph)


# ------------------------------------------------------------------------------------------- the command
def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([*map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_the_command_on_a_file_and_on_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = ZOO / f"{FILES[0]}.netsuke", tmp_path / "x.onnx"
    assert main(["export", "--file", str(file), "--out", str(out), "--input", "uint8", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == {
        "out": str(out), "format": "onnx", "input": "uint8", "bytes": out.stat().st_size, "model": "lenet5",
        "weights": str(file), "float_layers": None, "fixed_point": None, "calibration": None,
    }  # fmt: skip
    assert session(out).get_inputs()[0].type == "tensor(uint8)"

    other = tmp_path / "other"
    assert main(["export", "--model", "lenet5", "--format", "onnx", "--out", str(other)]) == 0
    assert "bytes, lenet5, weights random, seed 0, as ONNX that takes float32" in capsys.readouterr().out
    assert main(["export", "--model", "lenet5", "--out", str(tmp_path / "m.netsuke")]) == 0
    netsuke.export_onnx(tmp_path / "m.netsuke", tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == other.read_bytes()


def test_the_command_in_8_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Calibrated on four images of noise."""
    folder = tmp_path / "images" / "0"
    folder.mkdir(parents=True)
    for n in range(4):
        pixels = np.random.default_rng(n).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
    out, spec = tmp_path / "x.onnx", f"imagefolder:{folder.parent}"
    options = ["--float-layers", "int8", "--calibration", spec, "--json"]
    assert main(["export", "--model", "resnet20", "--out", str(out), *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["format"], result["float_layers"], result["calibration"]["n"]) == ("onnx", "int8", 4)
    kinds = Counter(node.op_type for node in onnx.load(out).graph.node)
    assert kinds["QuantizeLinear"] == 20


def test_refused_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = ZOO / f"{FILES[0]}.netsuke", tmp_path / "x.onnx"
    assert "give --format onnx" in fails(capsys, "export", "--file", file, "--out", tmp_path / "x.netsuke")
    both = ("--float-layers", "int8", "--calibration", "digits")
    assert "no --float-layers" in fails(capsys, "export", "--file", file, "--out", out, *both)
    assert "--file FILE.netsuke" in fails(capsys, "export", "--file", file, "--model", "lenet5", "--out", out)
    assert "choose netsuke or onnx" in fails(capsys, "export", "--file", file, "--out", out, "--format", "tflite")
    assert "choose float32 or uint8" in fails(capsys, "export", "--file", file, "--out", out, "--input", "int8")
    words = fails(capsys, "export", "--model", "lenet5", "--out", tmp_path / "x", "--input", "uint8")
    assert "--input uint8 is for --format onnx" in words
    assert "is binary" in fails(capsys, "export", "--file", ZOO / "adabin_resnet20_cifar10.netsuke", "--out", out)
    assert not list(tmp_path.iterdir())
