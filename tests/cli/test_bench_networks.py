"""benchmarks/binary_networks.py: a tiny run, gone on with, and its page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks import binary_networks
from benchmarks.binary_networks import page, study

from netsuke.artifact.contract import Error
from netsuke.models import get_model

pytest.importorskip("onnxruntime")


def test_every_network_with_binarizers_and_no_other() -> None:
    names = binary_networks.binary_networks()
    assert {"adabin_resnet20", "adabin_alexnet", "bnext_large", "reactnet_a", "meliusnet59", "pokebnn_2_0x"} <= set(
        names
    )
    assert not [name for name in names if name.endswith("_float") or get_model(name).float_counterpart == name]
    assert "resnet18" not in names


def test_a_tiny_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = study(tmp_path, ["adabin_resnet20"], 2, 3.0)
    result = found["networks"]["adabin_resnet20"]
    assert result["size"] == 32
    assert result["bytes"]["netsuke_int8"] < result["bytes"]["netsuke"] < result["bytes"]["onnxruntime_f32"] / 10
    assert all(entry["runs"] == 2 and entry["median_ms"] > 0 for entry in result["candidates"].values())

    def never(*_: Any) -> dict[str, Any]:
        raise AssertionError("measured again")

    monkeypatch.setattr(binary_networks, "measure", never)
    assert study(tmp_path, ["adabin_resnet20"], 2, 3.0) == found
    with pytest.raises(Error, match="other settings"):
        study(tmp_path, ["adabin_resnet20"], 3, 3.0)

    text = page(found)
    ms = {name: entry["median_ms"] for name, entry in result["candidates"].items()}
    (row,) = [line for line in text.splitlines() if line.startswith("| `adabin_resnet20` |")]
    assert f"| {ms['onnxruntime_f32'] / ms['netsuke']:.2f}x |" in row
    assert f"| {result['bytes']['netsuke'] / 1e6:.2f} |" in row
    assert found["machine"] in text
    assert "Not run: `adabin_alexnet`, " in text


def test_a_network_that_is_none(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.binary_networks", "--out", str(tmp_path), "--models", "resnet18"]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == "error: --models resnet18: no binary networks of the registry"
