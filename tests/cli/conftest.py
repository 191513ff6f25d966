"""Small networks as files, and the command run as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netsuke import artifact
from netsuke.artifact.graph import Binarize, BinaryConv2d, Conv2d, Graph, InputTransform, Output, Store
from netsuke.cli import main
from netsuke.data import open_dataset


def nearest_centroid() -> tuple[np.ndarray, np.ndarray]:
    """A linear classifier of the digits, from the mean image m of each class: m . x - |m|^2 / 2. (10, 64), (10,)"""
    data = open_dataset("digits", "train")
    images, labels = data.read(np.arange(len(data)))
    means = np.stack([images[labels == digit].mean(axis=0).ravel() / 255 for digit in range(10)])
    return means.astype(np.float32), (-(means**2).sum(axis=1) / 2).astype(np.float32)


@pytest.fixture(scope="session")
def linear_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that classifies the digits by one float layer."""
    weight, bias = nearest_centroid()
    layer = Conv2d("classifier", [0], [Store(1)], weight=weight.reshape(10, 8, 8, 1), bias=bias)
    scale, shift = np.array([1 / 255], np.float32), np.zeros(1, np.float32)
    path = tmp_path_factory.mktemp("files") / "linear.netsuke"
    artifact.save(Graph("linear", (1, 8, 8), [layer], [Output(1, 2)], InputTransform(scale, shift)), path)
    return path


@pytest.fixture(scope="session")
def binary_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a one-bit layer of random weights, taking and classifying digits; not in the zoo."""
    random = np.random.default_rng(0)
    floats = np.ones(16, np.float32)
    stem = Conv2d(
        "stem", [0], [Binarize(np.zeros(1, np.float32), False, 1)],
        weight=random.standard_normal((16, 3, 3, 1), np.float32), bias=0 * floats, padding=(1, 1, 1, 1),
    )  # fmt: skip
    body = BinaryConv2d(
        "body", [1], [Store(2)], weight=random.choice([-1, 1], (16, 3, 3, 16)).astype(np.int8),
        alpha_w=floats, beta_w=0 * floats, bias=0 * floats, alpha_a=1.0, gamma=0.0,
    )  # fmt: skip
    head = Conv2d(
        "head",
        [2],
        [Store(3)],
        weight=random.standard_normal((10, 6, 6, 16), np.float32),
        bias=np.zeros(10, np.float32),
    )
    transform = InputTransform(np.ones(1, np.float32), np.zeros(1, np.float32))
    path = tmp_path_factory.mktemp("files") / "binary.netsuke"
    artifact.save(Graph("binary", (1, 8, 8), [stem, body, head], [Output(3, 2)], transform), path)
    return path


@pytest.fixture
def run_json(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run a command with --json in this process; check that it prints one JSON object and nothing else."""

    def run(*arguments: object) -> dict[str, Any]:
        assert main([*map(str, arguments), "--json"]) == 0, capsys.readouterr().err
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 1
        return json.loads(lines[0])

    return run


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail: status 2, nothing on standard output, one or two lines on standard error."""

    def run(*arguments: object) -> str:
        assert main([*map(str, arguments)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert 1 <= len(printed.err.splitlines()) <= 2, printed.err
        return printed.err

    return run


def netsuke(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "netsuke", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
