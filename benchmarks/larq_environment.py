"""Larq Compute Engine's BinaryResNet-E18, in a Python environment of its own that is made when first asked for.

It needs TensorFlow 2.12, which cannot be installed beside the suite's own packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from netsuke.artifact.contract import Error

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "larq_requirements.txt"
WORKER = HERE / "larq_worker.py"
SETTINGS = ("default", "indirect")  # see larq_worker.py


class Larq:
    """folder: where the environment and the converted network are, or will be."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._python = folder / "bin" / "python"
        self._failure: str | None = None

    def model(self) -> Path:
        """The converted network, random weights. Raises Error where the environment cannot be made."""
        if self._failure is not None:
            raise Error(self._failure)
        file = self._folder / "binary_resnet_e18.tflite"
        try:
            self._install()
            if not file.exists():
                _run([self._python, WORKER, "convert", file], "Larq Compute Engine does not convert its network")
        except Error as error:
            self._failure = str(error)
            raise
        return file

    def command(self) -> list[str]:
        """What starts the process that is raced; behind it comes the request."""
        return [str(self._python), str(WORKER), "race"]

    def _install(self) -> None:
        wanted, installed = REQUIREMENTS.read_text(), self._folder / "installed.txt"
        if installed.exists() and installed.read_text() == wanted:
            return
        python = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
        if python is None:
            raise Error("Larq Compute Engine needs Python 3.11, and no python3.11 is on the path")
        shutil.rmtree(self._folder, ignore_errors=True)
        _run([python, "-m", "venv", self._folder], "no environment for Larq Compute Engine")
        pip: list[str | Path] = [self._python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        _run([*pip, "wheel"], "pip does not install wheel")
        _run([*pip, "-r", REQUIREMENTS], "pip does not install Larq Compute Engine")
        installed.write_text(wanted)


def _run(command: list[str | Path], failure: str) -> None:
    """Raises Error, with the last line that the command said, unless it succeeds."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise Error(f"{failure}: {said[-1]}")
