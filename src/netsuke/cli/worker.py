"""The process of one bench candidate: it loads, says it is ready, and times runs when its turn comes.

Started by `race.py` as `python -m netsuke.cli.worker REQUEST`. It writes one JSON line on its standard output,
{"ready": facts} or {"error": text}; then for each line N it reads, it times N runs and writes {"seconds": [...]}.
It stops at the end of its input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from netsuke.artifact.contract import Error

Prepared = tuple[Callable[[], object], dict[str, Any]]


def serve(request: dict[str, Any], prepare: Callable[[dict[str, Any]], Prepared]) -> None:
    """Be the process of one candidate. `prepare(request)` gives what to run and the facts about it.

    request["cores"] are the cores to stay on, chosen before any library makes its threads.
    """
    os.sched_setaffinity(0, request["cores"])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print on standard output must not mix with the answers

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    try:
        run, facts = prepare(request)
    except Error as error:
        answer({"error": str(error)})
        return
    answer({"ready": facts})
    for line in sys.stdin:
        answer({"seconds": time_runs(run, int(line))})


def time_runs(run: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of `count` runs, after one that is not timed: whoever ran before emptied the caches."""
    run()
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    from netsuke.cli.candidates import prepare_candidate

    serve(json.loads(sys.argv[1]), prepare_candidate)
