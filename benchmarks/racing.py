"""Races of the suite: who takes part, and the times they took."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.larq_environment import Larq
from benchmarks.networks import Files, Network

from netsuke.artifact.contract import Error
from netsuke.cli.bench import summary
from netsuke.cli.entrants import Entrant
from netsuke.cli.machine import cores_for
from netsuke.cli.quantise import QUANTISERS
from netsuke.cli.race import Racer, race

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Contestant:
    """One process of a race. name: its own in the race. candidate: as in `netsuke bench`, or larq, published_layer.

    float_layers: of a netsuke file. setting: of larq. load: time not runs but the making of a runnable network from
    the file.
    """

    name: str
    candidate: str
    network: Network
    float_layers: str = "float32"
    isa: str | None = None
    threads: int = 1
    batch: int = 1
    setting: str = ""
    load: bool = False


@dataclass(frozen=True)
class Stage:
    """What races are run with. larq: None to go without it. runs: of each contestant, or else `seconds`."""

    files: Files
    larq: Larq | None
    runs: int | None
    seconds: float


def run(contestants: list[Contestant], stage: Stage) -> dict[str, Any]:
    """Race them, taking turns.

    Returns candidates: {name: summary, threads, batch}, and absent: {name: why} for those that cannot run here; that
    netsuke cannot run is an Error.
    """
    racers, absent = [], {}
    with ExitStack() as stack:
        for contestant in contestants:
            try:
                racers.append(stack.enter_context(_racer(contestant, stage)))
            except Error as error:
                if contestant.candidate == "netsuke":
                    raise
                absent[contestant.name] = str(error)
        taken = race(racers, stage.runs, stage.seconds)
        facts = {racer.name: racer.facts for racer in racers}
    settings = {c.name: {"threads": c.threads, "batch": c.batch} for c in contestants}
    return {
        "candidates": {name: summary(facts[name], times) | settings[name] for name, times in taken.items()},
        "absent": absent,
    }


def _racer(contestant: Contestant, stage: Stage) -> Racer:
    network, candidate = contestant.network, contestant.candidate
    request: dict[str, Any] = {
        "candidate": candidate, "cores": cores_for(contestant.threads), "threads": contestant.threads,
        "batch": contestant.batch, "input": network.input, "model": network.model, "classes": None,
        "isa": contestant.isa,
    }  # fmt: skip
    if candidate == "netsuke":
        request["file"] = str(stage.files.netsuke(network, contestant.float_layers))
    elif candidate in QUANTISERS:
        request[candidate] = str(stage.files.int8(network, contestant.batch, candidate))
    elif candidate in ("onnxruntime_f32", "openvino_f32", "openvino_bf16"):
        request["onnx"] = str(stage.files.onnx(network, contestant.batch))
    command = None
    if candidate == "larq":
        if stage.larq is None:
            raise Error("left out by --no-larq")
        request |= {"file": str(stage.larq.model()), "setting": contestant.setting}
        command = stage.larq.command()
    elif candidate == "published_layer":
        request["weights"] = None
        command = [sys.executable, str(HERE / "published_adabin.py"), "--worker"]
    elif contestant.load:
        command = [sys.executable, str(HERE / "loading.py")]
    environment = Entrant(contestant.name, candidate, contestant.isa).environment
    return Racer(contestant.name, request, command, environment)
