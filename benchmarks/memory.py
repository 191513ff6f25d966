"""Peak resident memory and size of the C example, in a process that is nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from netsuke.artifact.contract import Error

ROOT = Path(__file__).resolve().parents[1]
# A process starts with the peak of the one it was forked from, and ours is large: a small one starts it.
LAUNCHER = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def compile_example(folder: Path, library: Path | None) -> Path:
    """examples/c/classify.c with the engine in it, stripped. library: by default what `make setup` built.

    Raises Error where that fails.
    """
    libraries = list((ROOT / "build").glob("cp3*/libnetsuke_engine.a")) if library is None else [library]
    if not libraries or not shutil.which("cc"):
        raise Error("needs a C compiler and the library that `make setup` builds below build/")
    newest = max(libraries, key=lambda path: path.stat().st_mtime)
    program = folder / "classify"
    sources: list[str | Path] = ["-I", ROOT / "csrc" / "include", ROOT / "examples" / "c" / "classify.c"]
    command: list[str | Path] = ["cc", "-O2", "-s", *sources, newest, "-lstdc++", "-lpthread", "-lm", "-o", program]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Error(f"the C example does not compile: {done.stderr.strip()[-200:]}")
    return program


def peak_resident_bytes(program: Path, file: Path, size: int) -> int:
    """Run the example on one image of `size` pixels: the most memory it had resident, in bytes."""
    image = file.with_suffix(".ppm")
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    image.write_bytes(f"P6\n{size} {size}\n255\n".encode() + pixels.tobytes())
    command: list[str | Path] = [sys.executable, "-I", "-S", "-c", LAUNCHER, program, file, image]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Error(f"the C example does not run: {(done.stderr or done.stdout).strip()[-200:]}")
    return 1024 * int(done.stdout.splitlines()[-1])
