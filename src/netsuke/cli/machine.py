"""What machine this is, and which of its cores this process may use."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from netsuke.artifact.contract import Error


def cpu_name() -> str:
    """The processor's own name, as in "Intel(R) Xeon(R) ...", or the architecture where it gives none."""
    return _cpuinfo("model name") or platform.machine()


def cpu_flags() -> set[str]:
    """The processor's features in Linux's names, as in avx512_vnni, amx_int8; empty where it gives none."""
    return set(_cpuinfo("flags").split())


def _cpuinfo(key: str) -> str:
    """What Linux says of the first processor under this key, or ""."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def cores_for(threads: int) -> list[int]:
    """As many cores as threads, the last ones: the first serves more interrupts. Raises Error if there are fewer."""
    allowed = sorted(os.sched_getaffinity(0))
    if threads > len(allowed):
        raise Error(f"--threads {threads}: this process may use {len(allowed)} cores, one a thread")
    return allowed[-threads:]
