"""What the suite measures: which networks, and who races whom."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from benchmarks.larq_environment import SETTINGS
from benchmarks.networks import Network
from benchmarks.racing import Contestant

FLOAT_LAYERS = ("float32", "int8")
ISAS = ("AVX512_CORE_VNNI", "AVX2")  # what OpenVINO's int8 is held to


@dataclass(frozen=True)
class Plan:
    """resnet18, resnet20: the networks of the tables. sizes, widths, batches, threads: where growth is measured.

    many: the batch that is held against single images. width: of resnet18, from which growth starts.
    """

    resnet18: Network
    resnet20: Network
    sizes: tuple[int, ...]
    widths: tuple[int, ...]
    batches: tuple[int, ...]
    threads: tuple[int, ...]
    many: int


def full() -> Plan:
    cores = len(os.sched_getaffinity(0))
    return Plan(
        Network("adabin_resnet18_imagenet", 224, 64),
        Network("adabin_resnet20", 32),
        sizes=(64, 96, 128, 224, 320, 448),
        widths=(16, 32, 64, 96, 128),
        batches=(1, 2, 4, 8, 16, 32),
        threads=tuple(n for n in (1, 2, 4, 8, 16, 32) if n <= cores),
        many=16,
    )


def quick() -> Plan:
    """Everything once, tiny: it shows that the suite works, its figures mean nothing."""
    cores = len(os.sched_getaffinity(0))
    return Plan(
        Network("adabin_resnet18_imagenet", 64, 16),
        Network("adabin_resnet20", 32),
        sizes=(64,),
        widths=(16,),
        batches=(2,),
        threads=(2,) if cores > 1 else (1,),
        many=2,
    )


def name(candidate: str, float_layers: str = "float32", isa: str | None = None) -> str:
    """As in `netsuke bench`; netsuke_int8 is the file with float_layers="int8"."""
    return candidate + ("_int8" if float_layers == "int8" else "") + (f"@{isa}" if isa else "")


def netsuke(network: Network, isa: str | None = None) -> list[Contestant]:
    """The engine on both files of a network."""
    return [Contestant(name("netsuke", f, isa), "netsuke", network, float_layers=f, isa=isa) for f in FLOAT_LAYERS]


def against_all(network: Network) -> list[Contestant]:
    """One image, one thread: everybody."""
    others = (
        "torch_binary", "torch_float", "onnxruntime_f32", "onnxruntime_int8", "openvino_f32", "openvino_bf16",
        "openvino_int8",
    )  # fmt: skip
    return [
        *netsuke(network),
        *netsuke(network, "avx2"),
        *(Contestant(other, other, network) for other in others),
        *(Contestant(name("openvino_int8", isa=isa), "openvino_int8", network, isa=isa) for isa in ISAS),
    ]


def larq(network: Network) -> list[Contestant]:
    """Larq's network of the same name and input; only its authors' form of it can be raced."""
    return [Contestant(f"larq_{setting}", "larq", network, setting=setting) for setting in SETTINGS]


def published_layer(network: Network) -> list[Contestant]:
    """AdaBin's layer in PyTorch as its authors released it (published_adabin.py)."""
    return [Contestant("published_layer", "published_layer", network)]


def few(network: Network) -> list[Contestant]:
    """Those whose growth is shown."""
    return [*netsuke(network), *(Contestant(c, c, network) for c in ("onnxruntime_f32", "openvino_int8"))]


def with_threads(contestants: list[Contestant], threads: int) -> list[Contestant]:
    return [replace(c, name=f"{c.name}, threads {threads}", threads=threads) for c in contestants]


def with_batch(contestants: list[Contestant], batch: int) -> list[Contestant]:
    return [replace(c, name=f"{c.name}, batch {batch}", batch=batch) for c in contestants]


def loading(network: Network) -> list[Contestant]:
    return [replace(c, load=True) for c in few(network)]
