"""A process that reads files from standard input, loads and runs each in the engine, and says what came of it.

Input: for every file its length (8 bytes, little endian), then its bytes. Output: one line of JSON for each:
{"verdict": "refused", "message": ...} or {"verdict": "ran", "seconds": ..., "digest": ...}. Whatever else happens
(a crash, a hang, memory beyond LIMIT more than at the start) the parent sees and reports.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time

import numpy as np

import netsuke
from netsuke.artifact import Error
from netsuke.engine import Engine

LIMIT = 1 << 30


def digest(outputs: np.ndarray | tuple[np.ndarray, ...]) -> str:
    """SHA-256 of the bits of the outputs; all NaNs count as one."""
    hasher = hashlib.sha256()
    for output in outputs if isinstance(outputs, tuple) else (outputs,):
        hasher.update(repr(output.shape).encode())
        hasher.update(np.where(np.isnan(output), np.float32(np.nan), output).tobytes())
    return hasher.hexdigest()


def images(shape: tuple[int, int, int]) -> np.ndarray:
    """One image for a network of this input."""
    return np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)


def run(data: bytes) -> dict[str, object]:
    try:
        engine: Engine = netsuke.load(data, threads=2)
    except Error as error:
        return {"verdict": "refused", "message": str(error)}
    start = time.perf_counter()
    found = digest(engine(images(engine.input_shape)))
    seconds = time.perf_counter() - start
    if seconds < 0.1 and digest(netsuke.load(data, isa="scalar")(images(engine.input_shape))) != found:
        return {"verdict": "scalar differs"}
    return {"verdict": "ran", "seconds": seconds, "digest": found}


def limit_memory() -> None:
    """From now on this process gets LIMIT bytes of address space more, and no core dump."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT, used + LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    limit_memory()
    while header := sys.stdin.buffer.read(8):
        data = sys.stdin.buffer.read(int.from_bytes(header, "little"))
        try:
            result = run(data)
        except BaseException as error:
            result = {"verdict": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
