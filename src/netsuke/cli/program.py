"""How the user can start this program again."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """What to type before a command's name: `netsuke` where the shell finds this program, else the way to it."""
    started = Path(sys.argv[0])
    if started.name != "netsuke":
        return f"{shlex.quote(sys.executable)} -m netsuke"
    found = shutil.which("netsuke")
    if found is not None and started.exists() and started.samefile(found):
        return "netsuke"
    return shlex.quote(sys.argv[0])
