"""How the engine is called: the instruction set, threads, wrong input, and that calls do not disturb one another."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphs
import netsuke
from isas import ISAS
from netsuke import engine
from netsuke.artifact import Error, Reference, contract, encode, save

pytestmark = pytest.mark.usefixtures("compiled")

GRAPH = graphs.every_operator()
FILE = encode(GRAPH)
IMAGES = graphs.images(np.random.default_rng(0), "normal", 3, GRAPH.input_shape)


# ----------------------------------------------------------------------------------------------- loading
def test_the_names_of_the_instruction_sets() -> None:
    available = engine.available_isas()
    assert "scalar" in available
    assert set(available) <= set(ISAS)
    assert len(set(available)) == len(available)


def test_limits_of_the_compiled_reader() -> None:
    from netsuke.engine import _native

    assert dict(_native.limits) == {name: value for name, value in vars(contract).items() if name.isupper()}


def test_attributes(isa: str) -> None:
    loaded = netsuke.load(FILE, threads=2, isa=isa)
    assert (loaded.model, loaded.input_shape, loaded.isa, loaded.threads) == ("every operator", (3, 10, 9), isa, 2)


def test_a_path_is_as_good_as_bytes(tmp_path: Path) -> None:
    save(GRAPH, tmp_path / "a.netsuke")
    expected = netsuke.load(FILE)(IMAGES)
    for path in (tmp_path / "a.netsuke", str(tmp_path / "a.netsuke")):
        graphs.assert_same_bits(netsuke.load(path)(IMAGES), expected)


def test_the_environment_forces_an_instruction_set(isa: str) -> None:
    program = "import sys, netsuke; print(netsuke.load(sys.argv[1]).isa)"
    assert run_python(program, NETSUKE_ISA=isa).stdout.strip() == isa


@pytest.mark.parametrize("name", ["sse9", "neon", "SCALAR", " "])
def test_an_instruction_set_that_is_not_here(name: str) -> None:
    if name in engine.available_isas():
        pytest.skip(f"this CPU can run {name}")
    with pytest.raises(Error, match="scalar") as caught:  # it names those that are
        netsuke.load(FILE, isa=name)
    assert len(str(caught.value).splitlines()) <= 2
    result = run_python("import sys, netsuke; netsuke.load(sys.argv[1])", NETSUKE_ISA=name)
    assert result.returncode == 1
    assert "netsuke.artifact.contract.Error" in result.stderr


def run_python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program on a saved file in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        save(GRAPH, Path(folder) / "a.netsuke")
        command = [sys.executable, "-c", program, str(Path(folder) / "a.netsuke")]
        variables = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("threads", [0, -1, 100_000, 1.5, None, True])
def test_a_number_of_threads_that_makes_no_sense(threads: Any) -> None:
    with pytest.raises(Error, match="threads") as caught:
        netsuke.load(FILE, threads=threads)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize("path", [3, None, ["a.netsuke"]])
def test_something_that_is_no_path(path: Any) -> None:
    with pytest.raises(Error, match="takes the path"):
        netsuke.load(path)


def test_more_threads_than_rows() -> None:
    graphs.assert_same_bits(netsuke.load(FILE, threads=40)(IMAGES), Reference(GRAPH)(IMAGES))


def test_a_damaged_file_names_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.netsuke").write_bytes(FILE[:-1])
    (tmp_path / "b.netsuke").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    for name in ("a.netsuke", "b.netsuke", "nowhere.netsuke"):
        with pytest.raises(Error, match=name) as caught:
            netsuke.load(tmp_path / name)
        assert len(str(caught.value).splitlines()) <= 2


# ----------------------------------------------------------------------------------------------- calling
def test_calls_do_not_disturb_one_another() -> None:
    """Results stay as they were when the engine runs again; runs from several threads do not mix."""
    loaded, reference = netsuke.load(FILE, threads=2), Reference(GRAPH)
    batches = [graphs.images(np.random.default_rng(seed), "normal", 2, GRAPH.input_shape) for seed in range(24)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(loaded, batches))
    for batch, result in zip(batches, results, strict=True):
        graphs.assert_same_bits(result, reference(batch))


def test_images_in_any_memory_order() -> None:
    loaded, reference = netsuke.load(FILE), Reference(GRAPH)
    for images in (
        np.asfortranarray(IMAGES),
        IMAGES[::-1],
        np.repeat(IMAGES, 2, axis=3)[:, :, :, ::2],
        np.broadcast_to(IMAGES[:1], IMAGES.shape),
    ):
        graphs.assert_same_bits(loaded(images), reference(np.ascontiguousarray(images)))
    frozen = IMAGES.copy()
    frozen.flags.writeable = False
    graphs.assert_same_bits(loaded(frozen), reference(frozen))


def test_many_engines_come_and_go() -> None:
    """Threads and memory are given back: thirty engines of three threads, one after another."""
    before = len(os.listdir("/proc/self/task"))
    for _ in range(30):
        netsuke.load(FILE, threads=3)(IMAGES)
    assert len(os.listdir("/proc/self/task")) <= before + 3


WRONG = [
    IMAGES[0],
    IMAGES[:, :2],
    IMAGES.transpose(0, 2, 3, 1),
    IMAGES.astype(np.float64),
    IMAGES.astype(np.int8),
    IMAGES * np.float32(np.nan),
    np.where(IMAGES > 2, np.float32(np.inf), IMAGES),
    np.append(IMAGES.ravel()[:-1], np.float32(np.nan)).reshape(IMAGES.shape),  # only the very last pixel
    IMAGES.tolist(),
    None,
    "image.png",
]


@pytest.mark.parametrize("images", WRONG, ids=range(len(WRONG)))
def test_wrong_images_are_refused_as_the_reference_refuses_them(images: Any) -> None:
    messages = []
    for run in (netsuke.load(FILE), Reference(GRAPH)):
        with pytest.raises(Error) as caught:
            run(images)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert len(messages[0].splitlines()) <= 2


def test_uint8_without_a_transform() -> None:
    graph = graphs.residual_network(blocks=1)
    graph.transform = None
    with pytest.raises(Error, match="uint8"):
        netsuke.load(encode(graph))(np.zeros((1, *graph.input_shape), np.uint8))


# ----------------------------------------------------------------------------------------------- single nodes
def test_wrong_values_for_a_node() -> None:
    floats, bits = np.zeros((1, 6, 5, 9), np.float32), np.ones((1, 6, 5, 9), np.int8)
    loaded, reference = netsuke.load(FILE), Reference(GRAPH)
    for index, values in (
        (7, {}),
        (-1, {}),
        (1, {1: floats}),
        (1, {1: floats, 2: floats}),
        (1, {1: floats, 2: 0 * bits}),
        (1, {1: floats[:, :5], 2: bits}),
        (1, {1: floats, 2: np.repeat(bits, 2, axis=0)}),
    ):
        for run in (loaded.run_node, reference.run_node):
            with pytest.raises(Error):
                run(index, values)


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_a_node_on_a_batch(batch: int) -> None:
    reference = Reference(GRAPH)
    trace = reference.trace(graphs.images(np.random.default_rng(0), "normal", batch, GRAPH.input_shape))
    loaded = netsuke.load(FILE)
    for index in range(len(GRAPH.nodes)):
        for value, made in loaded.run_node(index, trace).items():
            graphs.assert_same_bits(made, trace[value])


def test_a_single_node_does_not_disturb_a_run() -> None:
    loaded, trace = netsuke.load(FILE), Reference(GRAPH).trace(IMAGES)
    before = loaded(IMAGES)
    loaded.run_node(3, trace)
    graphs.assert_same_bits(loaded(IMAGES), before)


def test_profile() -> None:
    rows = netsuke.load(FILE).profile(IMAGES, runs=2)
    assert [row[0] for row in rows] == [node.name for node in GRAPH.nodes]
    assert [row[1] for row in rows][:3] == ["conv2d", "binary_conv2d", "max_pool"]
    assert all(0 <= row[2] < 1 for row in rows)
