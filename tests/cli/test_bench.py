"""`netsuke bench`: fair turns, right statistics, and the float network that it compares with."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from detectors import small_detector
from netsuke.artifact.contract import Error
from netsuke.cli.bench import ratios, summary
from netsuke.cli.counterpart import float_counterpart, fold_batch_norm, write_onnx
from netsuke.cli.machine import cores_for, cpu_name
from netsuke.cli.race import ROUNDS, Racer, race

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]


class Clockwork:
    """A candidate that always takes the same time, and writes down when its turn was."""

    def __init__(self, name: str, seconds: float, diary: list[tuple[str, int]]) -> None:
        self.name, self.seconds, self.diary = name, seconds, diary

    def run(self, count: int) -> list[float]:
        self.diary.append((self.name, count))
        return [self.seconds] * count


@pytest.fixture
def no_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netsuke.cli.race.WARM_UP_SECONDS", -1.0)


@pytest.mark.usefixtures("no_warm_up")
@pytest.mark.parametrize("runs", [1, 7, 20, 33])
def test_candidates_take_turns_and_each_runs_as_often_as_asked(runs: int) -> None:
    diary: list[tuple[str, int]] = []
    racers = [Clockwork(name, 0.001, diary) for name in "abc"]
    taken = race(racers, runs=runs)
    assert {name: len(times) for name, times in taken.items()} == {"a": runs, "b": runs, "c": runs}
    turns = [name for name, _ in diary[len(racers) :]]  # after the warm-up
    assert len(turns) == 3 * min(runs, ROUNDS)
    rounds = [turns[i : i + 3] for i in range(0, len(turns), 3)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in rounds)
    assert [turn[0] for turn in rounds] == ["abc"[i % 3] for i in range(len(rounds))]


@pytest.mark.usefixtures("no_warm_up")
def test_by_seconds_fast_candidates_run_more_often() -> None:
    taken = race([Clockwork("fast", 0.001, []), Clockwork("slow", 0.3, [])], seconds=1.0)
    assert (len(taken["fast"]), len(taken["slow"])) == (1000, ROUNDS)


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "x was ended by SIGSEGV"),
        ("import sys; sys.exit('no such thing')", "x stopped with status 1: no such thing"),
        ('print(\'{"error": "not here"}\')', "x: not here"),
    ],
)
def test_a_candidate_that_cannot_run_says_how_it_ended(program: str, complaint: str) -> None:
    with pytest.raises(Error, match=f"^bench candidate {complaint}$"):
        Racer("x", {"cores": [0]}, command=[sys.executable, "-c", program])


def test_statistics() -> None:
    entry = summary({"precision": "1-bit"}, [0.004, 0.001, 0.002])
    assert entry == {"median_ms": 2.0, "min_ms": 1.0, "runs": 3, "precision": "1-bit"}
    assert ratios({"netsuke": [1.0, 2.0, 9.0], "other": [6.0, 5.0, 4.0]}) == {"other": 2.5}


def test_the_machine_has_a_name_and_cores() -> None:
    assert cpu_name()
    assert set(cores_for(1)) <= os.sched_getaffinity(0)


def test_the_float_counterpart_of_pokebnn_becomes_onnx(tmp_path: Path) -> None:
    """Its slopes are known as the module has them; torch.fx, which folds, writes others."""
    write_onnx(float_counterpart("pokebnn_1_0x", 10, width=0.25), (1, 3, 64, 64), tmp_path / "float.onnx")
    assert "Conv" in [node.op_type for node in onnx.load(tmp_path / "float.onnx").graph.node]


def test_folding_keeps_the_function() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    module(torch.randn(8, 3, 6, 6))  # gives the batch norm statistics of its own
    module.eval()
    folded = fold_batch_norm(module)
    images = torch.randn(2, 3, 6, 6)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    torch.testing.assert_close(folded(images), module(images), rtol=1e-5, atol=1e-5)


def test_batch_norms_of_a_detector_are_folded() -> None:
    module, x = small_detector(), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    folded = fold_batch_norm(module)
    assert sum(isinstance(part, nn.BatchNorm2d) for part in folded.modules()) == 1  # behind the binary convolution
    with torch.no_grad():
        torch.testing.assert_close(folded(x), module(x))


def test_the_float_counterpart_has_its_batch_norms_folded(tmp_path: Path) -> None:
    module = float_counterpart("adabin_resnet20", 10)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fold_batch_norm(module).modules())
    write_onnx(module, (2, 3, 32, 32), tmp_path / "float.onnx")
    graph = onnx.load(tmp_path / "float.onnx").graph
    operators = [node.op_type for node in graph.node]
    assert "BatchNormalization" not in operators
    assert operators.count("Conv") == 19
    assert [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == ["N", 3, 32, 32]


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """A float network for (1, 1, 8, 8) images as an ONNX file."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, (64, 10), np.ones(640, np.float32))
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, 8, 8))]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 10))]
    graph = helper.make_graph(nodes, "float", inputs, outputs, [weight])
    path = tmp_path / "float.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_a_race_against_a_reference_file(binary_digits: Path, reference: Path, run_json: RunJson) -> None:
    against = "onnxruntime_f32,openvino_f32"
    result = run_json("bench", binary_digits, "--against", against, "--reference", reference, "--runs", 5, "--layers")
    assert (result["threads"], result["batch"], result["model"]) == (1, 1, "binary")
    assert list(result["candidates"]) == ["netsuke", "onnxruntime_f32", "openvino_f32"]
    for entry in result["candidates"].values():
        assert entry["runs"] == 5
        assert 0 < entry["min_ms"] <= entry["median_ms"]
        assert entry["version"]
    assert result["candidates"]["netsuke"]["precision"] == "1-bit"
    assert {name: entry["weights"] for name, entry in result["candidates"].items()} == {
        "netsuke": "the file's", "onnxruntime_f32": "the reference's", "openvino_f32": "the reference's",
    }  # fmt: skip
    own = result["candidates"]["netsuke"]["median_ms"]
    assert result["ratio"] == {
        name: pytest.approx(entry["median_ms"] / own)
        for name, entry in result["candidates"].items()
        if name != "netsuke"
    }
    assert [layer["name"] for layer in result["layers"]] == ["stem", "body", "head"]
    assert sum(layer["share"] for layer in result["layers"]) == pytest.approx(1)
    assert all(layer["gmacs"] > 0 for layer in result["layers"])
    assert set(result["peak"]) == {"binary_gmacs", "float_gmacs", "int8_gmacs"}
    loops = ["float_gmacs", "binary_gmacs", "float_gmacs"]  # stem, body, head
    assert [layer["of_peak"] * result["peak"][loop] for layer, loop in zip(result["layers"], loops, strict=True)] == [
        pytest.approx(layer["gmacs"]) for layer in result["layers"]
    ]
    assert [(layer["macs"], layer["in_channels"]) for layer in result["layers"]] == [
        (8 * 8 * 16 * 9, 1), (6 * 6 * 16 * 9 * 16, 16), (10 * 36 * 16, 16),
    ]  # fmt: skip


def test_a_forced_instruction_set_is_the_one_that_ran(binary_digits: Path, run_json: RunJson) -> None:
    result = run_json("bench", binary_digits, "--isa", "scalar", "--runs", 2, "--batch", 3)
    assert (result["isa"], result["batch"], result["ratio"]) == ("scalar", 3, {})


def test_a_race_of_a_model_of_the_zoo(tmp_path: Path, run_json: RunJson) -> None:
    file = tmp_path / "r20.netsuke"
    run_json("export", "--model", "adabin_resnet20", "--out", file)
    result = run_json("bench", file, "--against", "torch_binary,torch_float,onnxruntime_f32", "--runs", 3)
    assert set(result["ratio"]) == {"torch_binary", "torch_float", "onnxruntime_f32"}
    assert all(ratio > 0 for ratio in result["ratio"].values())
    assert {result["candidates"][name]["weights"] for name in result["ratio"]} == {"random (seed 0)"}


def test_a_file_without_one_bit_layers_is_not_called_1_bit(linear_digits: Path, run_json: RunJson) -> None:
    assert run_json("bench", linear_digits, "--runs", 2)["candidates"]["netsuke"]["precision"] == "float32"


def test_what_cannot_be_raced_says_why(binary_digits: Path, reference: Path, fails: Fails, tmp_path: Path) -> None:
    assert "leave torch_float out" in fails("bench", binary_digits, "--against", "torch_float,onnxruntime_f32")
    assert "--reference" in fails("bench", binary_digits, "--against", "onnxruntime_f32")
    assert "no ONNX file" in fails(
        "bench", binary_digits, "--against", "onnxruntime_f32", "--reference", tmp_path / "absent"
    )
    message = fails("bench", binary_digits, "--against", "onnxruntime_f32", "--reference", binary_digits)
    assert "ONNX Runtime does not take" in message
    message = fails("bench", binary_digits, "--against", "onnxruntime_f32", "--reference", reference, "--batch", 2)
    assert "does not run on images of the file's shape" in message
    assert "cores" in fails("bench", binary_digits, "--threads", 4096)
