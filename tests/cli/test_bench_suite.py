"""benchmarks/suite.py: a tiny run of everything, the page it writes, and the judgement of each requirement."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from benchmarks.larq_environment import Larq
from benchmarks.memory import LAUNCHER
from benchmarks.page import table, write
from benchmarks.plots import number, spread
from benchmarks.requirements import faster, of_peak, requirements

from netsuke.artifact.contract import Error

ROOT = Path(__file__).resolve().parents[2]
FILES = ("benchmarks.json", "benchmarks-latency.svg", "benchmarks-growth.svg", "benchmarks.md")


def suite(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.suite", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_a_tiny_run_of_everything(tmp_path: Path) -> None:
    done = suite("--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "benchmarks.md")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)

    results = json.loads((tmp_path / "benchmarks.json").read_text())
    for race in results["races"].values():
        assert {"netsuke", "netsuke_int8"} <= {name.partition(",")[0] for name in race["candidates"]}
        assert all(entry["runs"] == 2 and entry["median_ms"] > 0 for entry in race["candidates"].values())
    assert set(results["races"]["resnet18"]["absent"]) >= {"larq_default", "larq_indirect"}
    assert "published_layer" in results["races"]["resnet20"]["candidates"]
    assert results["races"]["resnet18"]["candidates"]["netsuke_int8"]["precision"] == "1-bit, int8"
    assert results["resnet18"]["bytes"]["netsuke_int8"] < results["resnet18"]["bytes"]["netsuke"]
    assert set(results["growth"]) == {"size", "width", "batch", "threads"}
    for points in results["growth"].values():
        assert all({"netsuke", "onnxruntime_f32"} <= set(point["candidates"]) for point in points)

    page = (tmp_path / "benchmarks.md").read_text()
    for words in (results["machine"]["cpu"], "## What is required", "## Node by node", "openvino_int8@AVX2", "Python"):
        assert words in page
    for picture in FILES[1:3]:
        assert f"({picture})" in page
        assert ElementTree.parse(tmp_path / picture).getroot().tag.endswith("svg")

    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    assert suite("--render", "--out", tmp_path).returncode == 0
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before


def test_a_quick_run_does_not_overwrite_the_page() -> None:
    done = suite("--quick")
    assert done.returncode == 2
    assert "--out" in done.stderr


def race(**medians: float) -> dict[str, Any]:
    return {"candidates": {name: {"median_ms": median, "batch": 1} for name, median in medians.items()}, "absent": {}}


def layer(op: str, macs: int, us: float, channels: int, peak: float) -> dict[str, Any]:
    return {"op": op, "macs": macs, "us": us, "in_channels": channels, "of_peak": macs / us / 1e3 / peak}


@pytest.fixture
def results() -> dict[str, Any]:
    """A run in which each requirement is met by a hair or exactly."""
    layers = {
        "peak": {"binary_gmacs": 100.0},
        "layers": [
            layer("conv2d", 9_000_000, 1000.0, 3, 100.0),
            layer("binary_conv2d", 6_500_000, 100.0, 64, 100.0),  # 65 of 100 GMAC/s
            layer("binary_conv2d", 8_500_000, 100.0, 128, 100.0),  # 85; together 75
        ],
    }
    own = race(netsuke=2.0, netsuke_int8=1.0, onnxruntime_f32=10.0, larq_default=30.0, larq_indirect=29.0)
    own["candidates"] |= race(
        **{"openvino_int8": 0.9, "openvino_int8@AVX512_CORE_VNNI": 1.6, "openvino_int8@AVX2": 3.2},
        **{"netsuke_int8@avx2": 2.0},
    )["candidates"]
    pairs = {f"{name}, {what}": 1.0 for name in ("netsuke", "netsuke_int8") for what in ("threads 2", "batch 1")}
    pairs |= {f"{name}, threads 1": 1.7 for name in ("netsuke", "netsuke_int8")}
    pairs |= {f"{name}, batch 16": 16.0 for name in ("netsuke", "netsuke_int8")}
    return {
        "machine": {"features": ["avx512_vnni", "amx_int8", "amx_bf16"]},
        "many": 16,
        "races": {
            "resnet18": own,
            "resnet20": race(netsuke=1.0, onnxruntime_f32=6.0, openvino_bf16=1.0),
            "threads": race(**pairs),
            "batch": race(**pairs),
            "loading": race(netsuke=50.0),
        },
        "layers": {"float32": layers, "int8": layers},
        "resnet18": {"bytes": {"netsuke": 4_350_000, "netsuke_int8": 2_400_001}},
        "example": {
            "program_bytes": 1_000_000,
            "resident_bytes": {"netsuke": 40_000_000, "netsuke_int8": 40_000_001},
        },
    }


def test_each_requirement_is_judged_by_its_own_figure(results: dict[str, Any]) -> None:
    rows = [(row.value, row.verdict) for row in requirements(results)]
    assert rows == [
        ("5.00x", "met"), ("10.00x", "met"), ("1.60x", "met"), ("0.90x", "met"), ("30.00x", "met"),
        ("29.00x", "not met"), ("1.60x", "met"),
        ("75 %", "met"), ("85 %", "met"), ("75 %", "met"), ("85 %", "met"),
        ("1.70x", "met"), ("1.00", "met"), ("1.70x", "met"), ("1.00", "met"),
        ("6.00x", "met"), ("1.00x", "met"),
        ("50.00 ms", "met"), ("4.35 MB", "met"), ("2.40 MB", "not met"),
        ("40.00 MB", "met"), ("40.00 MB", "not met"), ("1.00 MB", "met"),
    ]  # fmt: skip


def test_what_a_machine_cannot_decide_is_neither_met_nor_missed(results: dict[str, Any]) -> None:
    poor = copy.deepcopy(results)
    poor["machine"]["features"] = []
    del poor["races"]["threads"], poor["races"]["resnet18"]["candidates"]["larq_default"]
    poor["example"] = {"absent": "no compiler"}
    verdicts = [row.verdict for row in requirements(poor)]
    assert sum("no AMX" in verdict for verdict in verdicts) == 2
    assert sum("no AVX-512 VNNI" in verdict for verdict in verdicts) == 1
    assert verdicts.count("this machine has one core") == 2
    assert verdicts.count("not measured") == 4


def test_ratios_need_both_sides() -> None:
    assert faster(race(a=2.0, b=5.0), "a", "b") == 2.5
    assert faster(race(a=2.0), "a", "b") is None
    assert faster(None, "a", "b") is None


def test_layers_together_are_weighed_by_their_time(results: dict[str, Any]) -> None:
    assert of_peak(results["layers"]["float32"]) == (pytest.approx(0.75), pytest.approx(0.85))


def test_labels_are_moved_apart_and_keep_their_order() -> None:
    assert spread({"a": 0.0, "b": 10.0, "c": 1.0}, 2.0) == {"a": 0.0, "c": 2.0, "b": 10.0}
    assert spread({"a": 1.0, "b": 1.0, "c": 1.0}, 2.0) == {"a": 1.0, "b": 3.0, "c": 5.0}


def test_numbers_have_three_digits() -> None:
    assert [number(x) for x in (123.45, 12.345, 1.2345, 0.12345)] == ["123", "12.3", "1.23", "0.123"]


def test_a_table() -> None:
    assert table(("a", "b"), [(1, 2.5)], right=[1]) == "| a | b |\n| --- | ---: |\n| 1 | 2.5 |"


def test_writing_replaces_the_whole_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "page", b"first, and long")
    write(tmp_path / "page", b"second")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("page", b"second")]


def test_the_launcher_measures_the_program_and_not_itself() -> None:
    """A program that touches 64 MiB more has its peak at least that much higher."""
    peaks = []
    for size in (1, 64):
        program = [sys.executable, "-S", "-c", f"bytearray(b'x') * ({size} << 20)"]
        said = subprocess.run([sys.executable, "-I", "-S", "-c", LAUNCHER, *program], capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
        peaks.append(int(said.stdout) / 1024)
    assert 60 < peaks[1] - peaks[0] < 80


def test_the_launcher_hands_on_a_failure() -> None:
    command = [sys.executable, "-I", "-S", "-c", LAUNCHER, sys.executable, "-c", "raise SystemExit(3)"]
    assert subprocess.run(command, capture_output=True).returncode == 3


def test_without_its_environment_larq_says_why_and_tries_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def refuse(command: list[object], failure: str) -> None:
        tried.append(command)
        raise Error(f"{failure}: no network")

    monkeypatch.setattr("benchmarks.larq_environment._run", refuse)
    monkeypatch.setattr("shutil.which", lambda name: f"/{name}")
    larq = Larq(tmp_path / "larq")
    for _ in range(2):
        with pytest.raises(Error, match="no environment for Larq Compute Engine: no network"):
            larq.model()
    assert len(tried) == 1
