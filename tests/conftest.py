"""Settings for every test: one thread for each numeric library, and hypothesis without wall-clock deadlines."""

from __future__ import annotations

import os

# Before anything imports torch or numpy: the tests run in parallel processes that share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
