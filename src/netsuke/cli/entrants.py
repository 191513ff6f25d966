"""Who takes part in a race: what --against may name."""

from __future__ import annotations

from dataclasses import dataclass

from netsuke.artifact.contract import Error
from netsuke.cli.candidates import CANDIDATES

# The names of DNNL_MAX_CPU_ISA, which OpenVINO's kernels obey. It passes over a name that it does not know.
OPENVINO_ISAS = (
    "SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16",
    "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX512_CORE_AMX_FP16",
)  # fmt: skip


@dataclass(frozen=True)
class Entrant:
    """One process of a race.

    name: as it was asked for. candidate: which function of candidates.py prepares it. isa: the instruction set it is
    held to, or None. file: a .netsuke file other than the one of the race, or None.
    """

    name: str
    candidate: str
    isa: str | None = None
    file: str | None = None

    @property
    def environment(self) -> dict[str, str] | None:
        """Variables that hold it to its instruction set; netsuke is told by argument."""
        if self.isa is None or not self.candidate.startswith("openvino"):
            return None
        return {"DNNL_MAX_CPU_ISA": self.isa}


def parse(against: str, openvino_isa: str | None = None) -> list[Entrant]:
    """The entrants of a comma separated list, each once, in order.

    An entry is a candidate, `netsuke`, or the path of another .netsuke file; `@ISA` behind an OpenVINO candidate,
    `netsuke` or a file holds it to that instruction set. openvino_isa: that of OpenVINO candidates without `@ISA`.
    Raises Error for what is none of these.
    """
    entries = dict.fromkeys(entry.strip() for entry in against.split(",") if entry.strip())
    return [_entrant(entry, openvino_isa) for entry in entries]


def _entrant(entry: str, openvino_isa: str | None) -> Entrant:
    what, at, isa = entry.rpartition("@")
    if not at or entry.endswith(".netsuke"):  # a path may hold an @
        what, isa = entry, ""
    elif not isa:
        raise Error(f"{entry!r} ends with @: write the instruction set behind it, or leave the @ out")
    if what.endswith(".netsuke"):
        return Entrant(entry, "netsuke", isa or None, what)
    if what == "netsuke":
        if not isa:
            raise Error("netsuke itself always runs: in --against give it an instruction set, as in netsuke@avx2")
        return Entrant(entry, what, isa)
    if what not in CANDIDATES:
        raise Error(f"unknown candidate {what!r}: choose among {', '.join(CANDIDATES)}, netsuke@ISA or a .netsuke file")
    if not what.startswith("openvino"):
        if isa:
            raise Error(f"{what} cannot be held to an instruction set: leave @{isa} out")
        return Entrant(entry, what)
    return Entrant(entry, what, _openvino_isa(isa or openvino_isa))


def _openvino_isa(isa: str | None) -> str | None:
    if isa is not None and isa.upper() not in OPENVINO_ISAS:
        raise Error(f"OpenVINO knows no instruction set {isa!r}: choose among {', '.join(OPENVINO_ISAS)}")
    return isa and isa.upper()
