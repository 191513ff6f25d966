"""Candidates timed side by side: each a process of its own on the same cores, taking turns.

Only one runs at a time. Turns are short and their order rotates, so that a change of clock speed or a busy
neighbour meets all candidates alike; the medians can then be compared.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from rich.progress import Progress

from netsuke.artifact.contract import Error
from netsuke.cli.output import stderr_console

ROUNDS = 20
WARM_UP_SECONDS = 0.3


class Racer:
    """One candidate's process. Use it as a context manager; facts are what the candidate says about itself."""

    def __init__(
        self,
        name: str,
        request: dict[str, Any],
        command: list[str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (closed in __exit__)
        threads = str(len(request["cores"]))
        self._process = subprocess.Popen(
            [*(command or [sys.executable, "-m", "netsuke.cli.worker"]), json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **(environment or {})},
        )
        try:
            self.facts: dict[str, Any] = self._answer()["ready"]
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def run(self, count: int) -> list[float]:
        """Seconds of `count` runs, after one that is not timed."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{count}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died: _answer says why
        return self._answer()["seconds"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            if status < 0:
                raise Error(f"bench candidate {self.name} was ended by {signal.Signals(-status).name}")
            self._stderr.seek(0)
            said = self._stderr.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise Error(f"bench candidate {self.name} stopped with status {status}: {said[-1]}")
        answer = json.loads(line)
        if "error" in answer:
            raise Error(f"bench candidate {self.name}: {answer['error']}")
        return answer

    def __enter__(self) -> Racer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None or self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        self._stderr.close()


class Racing(Protocol):
    """Something that can take turns: run(n) gives the seconds of n runs, after one that is not timed."""

    name: str

    def run(self, count: int) -> list[float]: ...


@dataclass(frozen=True)
class Request:
    """A candidate of a race. content: what its process is asked for (candidates.py). environment: set for it."""

    name: str
    content: dict[str, Any]
    environment: dict[str, str] | None = None


def race_processes(
    requests: Sequence[Request], runs: int | None, seconds: float
) -> tuple[dict[str, dict[str, Any]], dict[str, list[float]]]:
    """Start a process for each, let them race, and show how far they are. Facts, and seconds of every run, by name."""
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(console=stderr_console(), transient=True))
        task = progress.add_task("starting", total=1.0)
        racers = [
            stack.enter_context(Racer(request.name, request.content, environment=request.environment))
            for request in requests
        ]
        progress.update(task, description="racing")
        taken = race(racers, runs, seconds, lambda share: progress.update(task, completed=share))
        return {racer.name: racer.facts for racer in racers}, taken


def race(
    racers: Sequence[Racing],
    runs: int | None = None,
    seconds: float = 3.0,
    progress: Callable[[float], None] | None = None,
) -> dict[str, list[float]]:
    """Seconds of every timed run, by candidate, after a warm-up.

    runs: timed runs of each candidate; else each runs for about `seconds`. progress: called with the
    finished share, 0 to 1.
    """
    rounds = ROUNDS if runs is None else min(ROUNDS, runs)
    wanted = {}
    for racer in racers:
        typical = _warm_up(racer)
        wanted[racer.name] = runs or max(rounds, int(seconds / typical))
    taken: dict[str, list[float]] = {racer.name: [] for racer in racers}
    for number in range(rounds):
        first = number % len(racers)
        for racer in [*racers[first:], *racers[:first]]:
            so_far = wanted[racer.name] * (number + 1) // rounds
            taken[racer.name] += racer.run(so_far - len(taken[racer.name]))
        if progress is not None:
            progress((number + 1) / rounds)
    return taken


def _warm_up(racer: Racing) -> float:
    """Run until caches, clocks and lazy initialisation have settled; return the seconds of a typical run."""
    started = time.perf_counter()
    while True:
        taken = racer.run(3)
        if time.perf_counter() - started > WARM_UP_SECONDS:
            return statistics.median(taken)
