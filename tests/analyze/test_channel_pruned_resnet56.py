"""benchmarks/channel_pruned_resnet56.py: a tiny run of a small network, counted, reloaded and raced."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.channel_pruned_resnet56 import Plan, latency, paired, train
from benchmarks.study import run_missing

import netsuke
from netsuke.engine import available_isas


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    torch.set_num_threads(1)
    folder, random = tmp_path / "cifar", np.random.RandomState(0)
    folder.mkdir()
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        labels = np.arange(10, dtype=np.uint8)[:, None]
        np.concatenate([labels, random.randint(0, 256, (10, 3072), np.uint8)], axis=1).tofile(folder / name)
    weights = tmp_path / "weights.th"
    torch.save(netsuke.create_model("resnet20").state_dict(), weights)
    return Plan(
        f"cifar10:{folder}", str(weights), tmp_path / "out", model="resnet20", blocks=3, macs=0.6, epochs=1, batch=25,
        precision="float32",
    )  # fmt: skip


def test_pairs_by_hand() -> None:
    found = paired(np.array([1, 1, 1, 0, 0], bool), np.array([1, 1, 0, 1, 0], bool))
    assert found == {
        "n": 5, "published_top1": 60.0, "pruned_top1": 60.0,
        "pairs": {"right_right": 2, "right_wrong": 1, "wrong_right": 1, "wrong_wrong": 1},
    }  # fmt: skip


@pytest.mark.skipif(not available_isas(), reason="the engine is not compiled here")
def test_a_run_leaves_files_that_hold_the_pruned_network(plan: Plan) -> None:
    run_missing([(plan.out, "run", lambda: train(plan))], plan.settings())
    result = json.loads((plan.out / "result.json").read_text())
    assert result["macs"][1] <= 0.6 * result["macs"][0]
    assert result["last_epoch"]["step"] == 2
    assert sum(result["test"]["pairs"].values()) == result["test"]["n"] == 10
    small, whole = ((plan.out / name).stat().st_size for name in ("pruned.netsuke", "float.netsuke"))
    assert small < whole
    # A second start finds the result; the race reloads the network by its channels.
    run_missing([(plan.out, "run", lambda: pytest.fail("it was done"))], plan.settings())
    pytest.importorskip("onnxruntime")
    found = latency(plan, threads=1, batch=1, runs=1, seconds=0.01)
    assert set(found["candidates"]) == {"netsuke", "netsuke_float", "onnxruntime_pruned", "onnxruntime_float"}
    assert set(found["speedup"]) == {"netsuke", "onnxruntime"}
    with pytest.raises(netsuke.Error, match="holds no trained network"):
        latency(Plan(plan.spec, plan.weights, plan.out / "else"), 1, 1, 1, 0.01)
