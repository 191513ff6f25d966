"""What machine this is, and which of its cores this process may use."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from netsuke.artifact.contract import Error


def cpu_name() -> str:
    """The processor's own name, as in "Intel(R) Xeon(R) ...", or the architecture where it gives none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def cores_for(threads: int) -> list[int]:
    """As many cores as threads, the last ones: the first serves more interrupts. Raises Error if there are fewer."""
    allowed = sorted(os.sched_getaffinity(0))
    if threads > len(allowed):
        raise Error(f"--threads {threads}: this process may use {len(allowed)} cores, one a thread")
    return allowed[-threads:]
