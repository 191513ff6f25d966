"""What --against may name, and that an entrant is held to the instruction set it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netsuke.artifact.contract import Error
from netsuke.cli.entrants import Entrant, parse
from netsuke.cli.machine import cpu_flags
from netsuke.engine import available_isas


def test_names_become_entrants() -> None:
    assert parse(" onnxruntime_f32, openvino_int8@avx2,netsuke@scalar,other.netsuke,a@b/c.netsuke@avx2,") == [
        Entrant("onnxruntime_f32", "onnxruntime_f32"),
        Entrant("openvino_int8@avx2", "openvino_int8", "AVX2"),
        Entrant("netsuke@scalar", "netsuke", "scalar"),
        Entrant("other.netsuke", "netsuke", None, "other.netsuke"),
        Entrant("a@b/c.netsuke@avx2", "netsuke", "avx2", "a@b/c.netsuke"),
    ]
    assert parse("a@b/c.netsuke") == [Entrant("a@b/c.netsuke", "netsuke", None, "a@b/c.netsuke")]
    assert parse("torch_float,torch_float") == [Entrant("torch_float", "torch_float")]
    assert parse(" ,") == []


def test_the_option_holds_openvino_candidates_without_a_suffix() -> None:
    plain, held, other = parse("openvino_f32,openvino_f32@AVX512_CORE,onnxruntime_f32", openvino_isa="avx2")
    assert plain.environment == {"DNNL_MAX_CPU_ISA": "AVX2"}
    assert held.environment == {"DNNL_MAX_CPU_ISA": "AVX512_CORE"}
    assert other.environment is None


@pytest.mark.parametrize(
    ("against", "complaint"),
    [
        ("larq", "unknown candidate 'larq'"),
        ("netsuke", "netsuke@avx2"),
        ("openvino_f32@AVX3", "no instruction set 'AVX3'"),
        ("openvino_f32@", "ends with @"),
        ("torch_float@AVX2", "leave @AVX2 out"),
        ("onnxruntime_f32@avx2", "leave @avx2 out"),
    ],
)
def test_what_is_no_entrant_is_refused(against: str, complaint: str) -> None:
    with pytest.raises(Error, match=complaint):
        parse(against)


def test_one_candidate_several_times_in_one_race(tmp_path: Path, run_json: Callable[..., dict[str, Any]]) -> None:
    if "avx2" not in cpu_flags():
        pytest.skip("OpenVINO's instruction sets below are those of x86")
    file = tmp_path / "r20.netsuke"
    run_json("export", "--model", "adabin_resnet20", "--out", file)
    names = ["netsuke@scalar", f"{file}@{available_isas()[-1]}", "openvino_int8", "openvino_int8@AVX2"]
    result = run_json("bench", file, "--against", ",".join(names), "--runs", 2)
    entries = result["candidates"]
    assert list(entries) == ["netsuke", *names]
    assert [entries[name]["isa"] for name in names] == ["scalar", available_isas()[-1], None, "AVX2"]
    assert [entries[name]["weights"] for name in names] == 2 * ["the file's"] + 2 * ["random (seed 0)"]
    assert "avx2" in entries["openvino_int8@AVX2"]["kernel"]
    assert all(entries[name]["kernel"].endswith("I8") for name in names[2:])
    assert {entries[name]["precision"] for name in names[2:]} == {"int8"}


def test_a_file_of_another_input_cannot_race(
    binary_digits: Path, tmp_path: Path, run_json: Callable[..., dict[str, Any]], fails: Callable[..., str]
) -> None:
    other = tmp_path / "r20.netsuke"
    run_json("export", "--model", "adabin_resnet20", "--out", other)
    assert "does not run on images of the file's shape" in fails("bench", binary_digits, "--against", other)
