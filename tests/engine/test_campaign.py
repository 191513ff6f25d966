"""Damaged and hostile files through both readers: the same verdict, and whatever is accepted runs in bounds."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import attacks
import corruption
import graphs
import netsuke
import worker
from netsuke.artifact import Error, Reference, decode, encode

pytestmark = pytest.mark.usefixtures("compiled")

SECONDS = 60  # that one file may take
RESIDUAL = encode(graphs.residual_network())
SMALL = encode(graphs.every_operator())
SPARSE = encode(graphs.sparse_linears())
CODEBOOK = encode(graphs.codebook_linears())
CODED = encode(graphs.coded())


class Worker:
    """A child process that loads and runs files (worker.py), and is replaced when it dies."""

    def __init__(self) -> None:
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, worker.__file__]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def run(self, data: bytes) -> dict:
        """What came of a file; a crash or a hang is a verdict too."""
        assert self._process.stdin
        assert self._process.stdout
        hangs = False
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(len(data).to_bytes(8, "little") + data)
            self._process.stdin.flush()
            hangs = not select.select([self._process.stdout], [], [], SECONDS)[0]
            if not hangs and (line := self._process.stdout.readline()):
                return json.loads(line)
        if hangs:
            self._process.kill()
        status = self._process.wait()
        self._process = self._start()
        return {"verdict": f"no answer within {SECONDS} s" if hangs else f"died with status {status}"}

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def child() -> Iterator[Worker]:
    child = Worker()
    yield child
    child.close()


def campaign(child: Worker, cases: Iterable[corruption.Case]) -> tuple[int, int, list[str]]:
    """Accepted, refused, and what went wrong, over some files."""
    accepted, refused, wrong = 0, 0, []
    for name, data in cases:
        found = child.run(data)
        try:
            graph = decode(data)
        except Error as error:
            refused += 1
            if found["verdict"] != "refused":
                wrong.append(f"{name}: engine {found['verdict']}, Python refused: {error}")
            elif len(found["message"].splitlines()) > 2 or len(found["message"]) > 400:
                wrong.append(f"{name}: a message of {len(found['message'])} characters: {found['message'][:400]}")
            continue
        accepted += 1
        if found["verdict"] != "ran":
            wrong.append(f"{name}: Python accepted, engine {found['verdict']} {found.get('message', '')}")
        elif (
            found["seconds"] < 0.1
            and worker.digest(Reference(graph)(worker.images(graph.input_shape))) != found["digest"]
        ):
            wrong.append(f"{name}: the engine's output is not the reference's")
    return accepted, refused, wrong


def test_a_crash_is_noticed() -> None:
    child = Worker()
    os.kill(child._process.pid, signal.SIGSEGV)
    assert child.run(SMALL) == {"verdict": "died with status -11"}
    assert child.run(SMALL)["verdict"] == "ran"  # a new process goes on
    child.close()


def test_a_gigabyte_more_is_noticed() -> None:
    program = "import worker; worker.limit_memory(); bytearray(worker.LIMIT // 2); bytearray(worker.LIMIT + (1 << 26))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert result.stderr.rstrip().endswith("MemoryError")


def test_a_thousand_raw_corruptions_are_refused_by_both(child: Worker) -> None:
    accepted, refused, wrong = campaign(child, corruption.raw_corruptions(RESIDUAL, 1000))
    assert wrong == []
    assert (accepted, refused) == (0, 1000)


@pytest.mark.parametrize(
    ("file", "count"),
    [(RESIDUAL, 150), (SMALL, 400), (SPARSE, 150), (CODEBOOK, 150), (CODED, 300)],
    ids=["residual", "every operator", "sparse linears", "codebook linears", "coded"],
)
def test_corruptions_behind_the_checksum(child: Worker, file: bytes, count: int) -> None:
    accepted, refused, wrong = campaign(child, corruption.redigested_corruptions(file, count, seed=1))
    assert wrong == []
    assert accepted > count // 20
    assert refused > count // 2


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_attack(child: Worker, name: str) -> None:
    assert campaign(child, [(name, attacks.ATTACKS[name][1]())]) == (0, 1, [])


@pytest.mark.parametrize("name", attacks.EDGES)
def test_edge(child: Worker, name: str) -> None:
    assert campaign(child, [(name, attacks.EDGES[name]())]) == (1, 0, [])


# ----------------------------------------------------------------------------------------------- the full campaigns
@pytest.mark.slow
def test_coded_arrays_corrupted_10000_times_behind_the_checksum(child: Worker) -> None:
    accepted, refused, wrong = campaign(child, corruption.redigested_corruptions(CODED, 10_000, seed=3))
    assert wrong == []
    assert accepted > 500
    assert refused > 5000


CHECKPOINT = Path(__file__).parents[2] / ".." / "shared" / "models" / "adabin_resnet20_cifar10" / "model.th"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of the published AdaBin ResNet-20."""
    torch = pytest.importorskip("torch", reason="exporting the published checkpoint needs torch")
    if not CHECKPOINT.exists():
        pytest.skip("the published checkpoint is not beside this checkout (../shared/models)")
    from netsuke import models

    model = models.load_weights(netsuke.create_model("adabin_resnet20"), CHECKPOINT)
    path = tmp_path_factory.mktemp("published") / "r20.netsuke"
    netsuke.export(model, torch.zeros(2, 3, 32, 32), path)
    return path.read_bytes()


@pytest.mark.slow
def test_the_published_network_corrupted_raw_1000_times(child: Worker, published: bytes) -> None:
    accepted, refused, wrong = campaign(child, corruption.raw_corruptions(published, 1000, seed=2))
    assert wrong == []
    assert (accepted, refused) == (0, 1000)


@pytest.mark.slow
def test_the_published_network_corrupted_10000_times_behind_the_checksum(child: Worker, published: bytes) -> None:
    accepted, refused, wrong = campaign(child, corruption.redigested_corruptions(published, 10_000, seed=2))
    assert wrong == []
    assert accepted > 500
    assert refused > 5000
