"""Every instruction set equals the reference, also those this machine lacks: kernel_check under an emulator.

`make test-arm` builds the programs into build/emulated/ and names that folder in NETSUKE_EMULATED.
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

import graphs
from netsuke.artifact import Graph, Reference, encode

# (emulator, program's folder, instruction sets it must offer and those it must refuse)
MACHINES = {
    "aarch64": (["qemu-aarch64"], "aarch64", ["scalar", "neon"], ["avx2"]),
    "x86-64 without AVX": (["qemu-x86_64", "-cpu", "Nehalem"], "x86_64", ["scalar"], ["avx2", "avx512"]),
    "x86-64 with AVX2": (["qemu-x86_64", "-cpu", "Haswell"], "x86_64", ["scalar", "avx2"], ["avx512", "avx512vpopcnt"]),
}
FILES = 24


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> tuple[list[str], list[str], list[str]]:
    emulator, folder, offered, refused = MACHINES[request.param]
    program = Path(os.environ.get("NETSUKE_EMULATED", "")) / folder / "kernel_check"
    if not os.environ.get("NETSUKE_EMULATED") or not program.is_file():
        pytest.skip("needs an emulated build: run `make test-arm`")
    if not shutil.which(emulator[0]):
        pytest.skip(f"needs {emulator[0]} (Debian's qemu-user)")
    return [*emulator, str(program)], offered, refused


def _some_graphs() -> list[Graph]:
    """The same graphs at every run, of hypothesis' making."""
    found: list[Graph] = [graphs.every_operator(), graphs.residual_network(widths=(16, 24), blocks=1, size=8)]
    kinds = st.one_of(graphs.graphs(), graphs.binary_convolutions(), graphs.convolutions(), graphs.pools())

    @settings(
        max_examples=FILES, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), deadline=None,
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


def test_equals_the_reference(machine: tuple[list[str], list[str], list[str]], tmp_path: Path) -> None:
    command, offered, refused = machine
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
    run = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True, timeout=600)
    found = run.stdout.splitlines()
    assert len(found) == len(expected)
    wrong = [line for line, digest, want in zip(lines, found, expected, strict=True) if digest != want]
    assert not wrong, wrong

    lines = [f"{tmp_path / '0.netsuke'} {tmp_path / '0.f32'} {isa} 1" for isa in refused]
    run = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True, timeout=60)
    assert [line.partition(" ")[0] for line in run.stdout.splitlines()] == ["error:"] * len(refused)
