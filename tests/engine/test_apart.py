"""kernel_check, built apart: for machines this one is not, under an emulator, and with the compiler's sanitizers.

`make test-arm` and `make test-sanitize` build the programs below build/apart/ and name that folder in NETSUKE_APART.
"tiles" is the instruction set amx with its tile instructions written out in C++.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import corruption
import graphs
from netsuke import engine
from netsuke.artifact import Error, Graph, Reference, Table, decode, encode
from netsuke.artifact.embeddings import make_rows
from netsuke.artifact.graph import Quantize

# (emulator, program's folder, instruction sets it must offer and those it must refuse)
MACHINES: dict[str, tuple[list[str], str, list[str], list[str]]] = {
    "aarch64": (["qemu-aarch64"], "aarch64", ["scalar", "neon"], ["avx2"]),
    "x86-64 without AVX": (["qemu-x86_64", "-cpu", "Nehalem"], "x86_64", ["scalar"], ["avx2", "avx512"]),
    "x86-64 with AVX2": (["qemu-x86_64", "-cpu", "Haswell"], "x86_64", ["scalar", "avx2"], ["avx512", "avx512vpopcnt"]),
    "emulated tiles": ([], "tiles", ["amx"], []),
    "sanitized": ([], "sanitized", engine.available_isas(), []),
}
FILES = 24


def _program(name: str) -> list[str]:
    """The command that runs a machine's kernel_check; skips the test where it was not built."""
    emulator, folder, offered, _ = MACHINES[name]
    apart = os.environ.get("NETSUKE_APART")
    program = Path(apart or "") / folder / "kernel_check"
    if not apart or not program.is_file():
        pytest.skip(f"no {folder} build: run `make test-{'sanitize' if name == 'sanitized' else 'arm'}`")
    if "amx" in offered and "avx512vpopcnt" not in engine.available_isas():
        pytest.skip("only the tiles are emulated: this CPU lacks AVX-512 with VPOPCNTDQ and VNNI")
    if emulator and not shutil.which(emulator[0]):
        pytest.skip(f"needs {emulator[0]} (Debian's qemu-user)")
    return [*emulator, str(program)]


def _run(command: list[str], lines: list[str]) -> list[str]:
    """What kernel_check says of each line. A crash, or a sanitizer's report, fails the test."""
    run = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == len(lines)
    return run.stdout.splitlines()


def _some_graphs() -> list[Graph]:
    """The same graphs at every run, of hypothesis' making."""
    found: list[Graph] = [
        graphs.every_operator(),
        graphs.residual_network(widths=(16, 24), blocks=1, size=8),
        graphs.sparse_linears(),
        graphs.codebook_linears(),
    ]
    kinds = st.one_of(
        graphs.graphs(), graphs.binary_convolutions(), graphs.int8_convolutions(),
        graphs.fixed_convolutions(), graphs.convolutions(), graphs.pools(),
        graphs.detections(), graphs.normalizations(),
    )  # fmt: skip

    @settings(
        max_examples=FILES, derandomize=True, database=None, phases=[Phase.generate], deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(kinds)
    def collect(graph: Graph) -> None:
        found.append(graph)

    collect()
    return found


def _digest(outputs: np.ndarray | tuple[np.ndarray, ...]) -> str:
    """SHA-256 of all outputs. Every NaN counts as the same one, as in kernel_check."""
    arrays = outputs if isinstance(outputs, tuple) else (outputs,)
    clean = (np.where(np.isnan(array), np.float32(np.nan), array) for array in arrays)
    return hashlib.sha256(b"".join(array.tobytes() for array in clean)).hexdigest()


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_equals_the_reference(name: str, tmp_path: Path) -> None:
    command, (_, _, offered, refused) = _program(name), MACHINES[name]
    lines, expected = [], []
    for number, graph in enumerate(_some_graphs()):
        images = graphs.images(np.random.default_rng(number), graphs.STYLES[number % 3], 2, graph.input_shape)
        file, image_file = tmp_path / f"{number}.netsuke", tmp_path / f"{number}.f32"
        file.write_bytes(encode(graph))
        image_file.write_bytes(images.tobytes())
        digest = _digest(Reference(graph)(images))
        for isa in offered:
            for threads in (1, 2):
                lines.append(f"{file} {image_file} {isa} {threads}")
                expected.append(digest)
    found = _run(command, lines)
    wrong = [line for line, digest, want in zip(lines, found, expected, strict=True) if digest != want]
    assert not wrong, wrong

    answers = _run(command, [f"{tmp_path / '0.netsuke'} {tmp_path / '0.f32'} {isa} 1" for isa in refused])
    assert [answer.partition(" ")[0] for answer in answers] == ["error:"] * len(refused)


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_look_ups_equal_numpy(name: str, tmp_path: Path) -> None:
    command, (_, _, offered, _) = _program(name), MACHINES[name]
    lines, expected = [], []
    for number, columns in enumerate([1, 7, 8, 9, 16, 17, 33, 64, 65, 128, 200]):
        rng = np.random.default_rng(number)
        scales = np.ldexp(rng.integers(0, 256, 40).astype(np.float32), rng.integers(-140, 93, 40))
        rows = make_rows((scales.view(np.uint32) & 0xFFFF0000).view(np.float32), rng.choice([-1, 1], (40, columns)))
        table = Table("t", rows, columns, "mean" if number % 2 else "sum", 3)
        lengths = rng.integers(0, 60, 9)
        offsets, indices = np.concatenate([[0], np.cumsum(lengths)]), rng.integers(0, 40, lengths.sum())
        weights = rng.normal(size=len(indices)).astype(np.float32) if number % 4 == 0 else None
        row_file, bag_file = tmp_path / f"{number}.rows", tmp_path / f"{number}.bags"
        row_file.write_bytes(rows.tobytes())
        numbers = np.concatenate([[len(lengths), len(indices)], offsets, indices]).astype(np.int64)
        bag_file.write_bytes(numbers.tobytes() + (b"" if weights is None else weights.tobytes()))
        for isa in offered:
            lines.append(f"table {row_file} {bag_file} {isa} {columns} 3 {number % 2}")
            expected.append(_digest(table.look_up(indices, offsets, weights)))
    assert _run(command, lines) == expected


@pytest.mark.parametrize("name", ["emulated tiles", "sanitized"])
def test_one_pixel_and_many_channels(name: str, tmp_path: Path) -> None:
    """A tile computes 16 windows even where the result is one pixel: all of them need room."""
    command, (_, _, offered, _) = _program(name), MACHINES[name]
    rng = np.random.default_rng(0)
    node = graphs.int8_conv2d(rng, 64, 200, (1, 1), zero=77)
    graph = graphs.uint8_graph((64, 1, 1), node, Quantize(40.0, 77, 1))
    images = graphs.images(rng, "normal", 1, graph.input_shape)
    file, image_file = tmp_path / "one.netsuke", tmp_path / "one.f32"
    file.write_bytes(encode(graph))
    image_file.write_bytes(images.tobytes())
    lines = [f"{file} {image_file} {isa} {threads}" for isa in offered for threads in (1, 2)]
    assert _run(command, lines) == [_digest(Reference(graph)(images))] * len(lines)


def test_the_reader_is_clean_on_damaged_files(tmp_path: Path) -> None:
    command = _program("sanitized")
    data = encode(graphs.every_operator())
    images = tmp_path / "images.f32"
    images.write_bytes(
        graphs.images(np.random.default_rng(0), "normal", 1, graphs.every_operator().input_shape).tobytes()
    )
    lines, verdicts = [], []
    cases = [*corruption.raw_corruptions(data, 300), *corruption.redigested_corruptions(data, 300)]
    for number, (_, damaged) in enumerate(cases):
        file = tmp_path / f"{number}.netsuke"
        file.write_bytes(damaged)
        try:
            Reference(decode(damaged))
            verdicts.append(True)
        except Error:
            verdicts.append(False)
        lines.append(f"{file} {images} {engine.available_isas()[-1]} 1")
    found = [not answer.startswith("error:") for answer in _run(command, lines)]
    assert found == verdicts
