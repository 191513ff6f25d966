"""netsuke.h: the classifier of examples/c, compiled and run, against the Python face."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import netsuke
from netsuke import artifact
from netsuke.artifact.graph import Conv2d, Graph, InputTransform, Output, Store

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Path:
    libraries = list((ROOT / "build").glob("cp*/libnetsuke_engine.a"))  # not those of build/apart
    if not libraries or not shutil.which("cc"):
        pytest.skip("needs a C compiler and the static library that `make setup` builds below build/")
    library = max(libraries, key=lambda path: path.stat().st_mtime)
    program = tmp_path_factory.mktemp("c") / "classify"
    sources = ["-I", ROOT / "csrc" / "include", ROOT / "examples" / "c" / "classify.c"]
    subprocess.run(
        ["cc", "-O2", "-Wall", "-Werror", *sources, library, "-lstdc++", "-lpthread", "-lm", "-o", program], check=True
    )
    return program


def _file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((7, 6, 5, 3)).astype(np.float32)
    node = Conv2d("fc", [0], [Store(1)], weight=weight, bias=np.zeros(7, np.float32))
    transform = InputTransform(np.full(3, 1 / 64, np.float32), np.full(3, -2, np.float32), order="BGR")
    artifact.save(Graph("tiny", (3, 6, 5), [node], [Output(1, 2)], transform), tmp_path / "tiny.netsuke")
    return tmp_path / "tiny.netsuke"


def test_classifies_like_the_python_face(compiled: None, classify: Path, tmp_path: Path) -> None:
    path = _file(tmp_path)
    engine = netsuke.load(path)
    for seed in range(5):
        image = np.random.default_rng(seed).integers(0, 256, (1, 3, 6, 5), dtype=np.uint8)
        (tmp_path / "image.ppm").write_bytes(b"P6 5 6 255\n" + image[0].transpose(1, 2, 0).tobytes())
        run = subprocess.run([classify, path, tmp_path / "image.ppm"], capture_output=True, text=True, check=True)
        logits = engine(image)[0]
        assert run.stdout == f"tiny on {engine.isa}: class {logits.argmax()}, logit {logits.max():.4f}\n"


@pytest.mark.parametrize("damage", ["missing", "cut", "not one"])
def test_a_bad_file_is_one_line_and_status_2(classify: Path, tmp_path: Path, damage: str) -> None:
    path = _file(tmp_path)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-9] if damage == "cut" else b"P6 5 6 255\n" + bytes(90))
    run = subprocess.run([classify, path, path], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert run.stderr.count("\n") == 1
