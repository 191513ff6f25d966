"""benchmarks/low_rank_table.py: the table of a small network on a few images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks.low_rank_table import Plan, page, run

import netsuke
from mnist import small_set
from netsuke import Error

torch.set_num_threads(1)


def test_the_table_is_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, weights = small_set(tmp_path, train=120), tmp_path / "weights.pt"
    torch.save(netsuke.create_model("lenet5").state_dict(), weights)
    plan = Plan(spec, "lenet5", str(weights), tmp_path / "out", (1.5, 2.0), images=80, held_out=20)
    found = run(plan)
    assert found["n"] == 20
    assert set(found["increase"]) == {"linear", "nonlinear", "asymmetric", "3d"}
    for row in ("increase", "counted_speedup"):
        assert all(list(values) == ["1.5", "2"] for values in found[row].values())
    assert all(values["2"] >= 2 for values in found["counted_speedup"].values())
    lines = page(found).splitlines()
    assert lines[0] == "| increase of top-1 error, points | 1.5x | 2x |"
    assert [line.split("|")[1].strip() for line in lines[2:6]] == [
        "linear", "nonlinear", "asymmetric", "asymmetric (3d)",
    ]  # fmt: skip
    assert (tmp_path / "out/table.md").read_text() == page(found) + "\n"
    assert json.loads((tmp_path / "out/results.json").read_text()) == found
    capsys.readouterr()
    assert run(plan) == found
    assert capsys.readouterr().err == ""
    with pytest.raises(Error, match="other settings"):
        run(replace(plan, images=70))
    with pytest.raises(Error, match="choose train or test"):
        run(replace(plan, split="valid"))
