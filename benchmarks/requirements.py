"""What the engine must reach, and whether it did: each requirement beside the figure that was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.plan import FLOAT_LAYERS, name

WIDE = 128  # input channels from which a layer must come closer to the bare loop


@dataclass(frozen=True)
class Requirement:
    """what: in words. bound: the requirement. value: the figure. verdict: met, not met, or why there is none."""

    what: str
    bound: str
    value: str
    verdict: str
    goal: str = ""


def requirements(results: dict[str, Any]) -> list[Requirement]:
    """Every requirement, in the order of the page."""
    return [
        *_network(results),
        *_layers(results),
        *_threads_and_batch(results),
        *_small_network(results),
        *_files(results),
    ]


def median(race: dict[str, Any] | None, candidate: str) -> float | None:
    """The candidate's median in ms, None where it did not take part."""
    entry = race["candidates"].get(candidate) if race else None
    return entry["median_ms"] if entry else None


def faster(race: dict[str, Any] | None, own: str, other: str) -> float | None:
    """How many times as long the other one takes, None where one did not take part."""
    mine, its = median(race, own), median(race, other)
    return its / mine if mine and its else None


def _ratio(what: str, value: float | None, least: float, goal: float | None = None, unfit: str = "") -> Requirement:
    """unfit: why this machine cannot decide it, or empty."""
    verdict = unfit or _verdict(value is not None and value >= least, value)
    shown = "" if value is None or unfit else f"{value:.2f}x"
    return Requirement(what, f"at least {least:g}x", shown, verdict, "" if goal is None else f"{goal:g}x")


def _verdict(met: bool, value: object) -> str:
    if value is None:
        return "not measured"
    return "met" if met else "not met"


def _network(results: dict[str, Any]) -> list[Requirement]:
    race, features = results["races"]["resnet18"], results["machine"]["features"]
    no_vnni = "" if "avx512_vnni" in features else "this processor has no AVX-512 VNNI"
    no_amx = "" if "amx_int8" in features else "this processor has no AMX"
    return [
        _ratio(
            "ResNet-18, float layers in float32, against ONNX Runtime float32",
            faster(race, "netsuke", "onnxruntime_f32"), 5, 10,
        ),
        _ratio(
            "ResNet-18, float layers in int8, against ONNX Runtime float32",
            faster(race, "netsuke_int8", "onnxruntime_f32"), 7, 10,
        ),
        _ratio(
            "the same, against OpenVINO int8 without AMX",
            faster(race, "netsuke_int8", "openvino_int8@AVX512_CORE_VNNI"), 1.6, 3, no_vnni,
        ),
        _ratio(
            "the same, against OpenVINO int8 with AMX",
            faster(race, "netsuke_int8", "openvino_int8"), 0.9, 1.3, no_amx,
        ),
        _ratio(
            "the same, against Larq Compute Engine with its defaults",
            faster(race, "netsuke_int8", "larq_default"), 30, 100,
        ),
        _ratio(
            "the same, against Larq Compute Engine with indirect product and XNNPACK",
            faster(race, "netsuke_int8", "larq_indirect"), 30, 100,
        ),
        _ratio(
            "the same, both held to AVX2, against OpenVINO int8",
            faster(race, "netsuke_int8@avx2", "openvino_int8@AVX2"), 1.6,
        ),
    ]  # fmt: skip


def of_peak(layers: dict[str, Any]) -> tuple[float | None, float | None]:
    """Of the binary convolutions: the share of the bare loop's rate of all together, and the least of a wide one."""
    binary = [layer for layer in layers["layers"] if layer["op"] == "binary_conv2d"]
    peak = layers["peak"]["binary_gmacs"]
    together = sum(layer["macs"] for layer in binary) / sum(layer["us"] for layer in binary) / 1e3 / peak
    wide = [layer["of_peak"] for layer in binary if layer["in_channels"] >= WIDE]
    return together, min(wide, default=None)


def _layers(results: dict[str, Any]) -> list[Requirement]:
    rows = []
    for float_layers in FLOAT_LAYERS:
        together, least = of_peak(results["layers"][float_layers])
        file = f"file with float layers in {float_layers}"
        for what, value, bound in (
            (f"binary convolutions of the {file}, against the bare loop", together, 0.75),
            (f"the slowest of them with {WIDE} or more input channels", least, 0.85),
        ):
            shown = "" if value is None else f"{100 * value:.0f} %"
            met = _verdict(value is not None and value >= bound, value)
            rows.append(Requirement(what, f"at least {100 * bound:.0f} %", shown, met))
    return rows


def _threads_and_batch(results: dict[str, Any]) -> list[Requirement]:
    threads, batch, many = results["races"].get("threads"), results["races"]["batch"], results["many"]
    rows = []
    for own in (name("netsuke", f) for f in FLOAT_LAYERS):
        gain = faster(threads, f"{own}, threads 2", f"{own}, threads 1")
        unfit = "" if threads else "this machine has one core"
        rows.append(_ratio(f"{own}: two threads against one", gain, 1.7, unfit=unfit))
        one, all_of_them = median(batch, f"{own}, batch 1"), median(batch, f"{own}, batch {many}")
        value = all_of_them / many / one if one and all_of_them else None
        shown = "" if value is None else f"{value:.2f}"
        met = _verdict(value is not None and value <= 1, value)
        rows.append(
            Requirement(f"{own}: time of an image in a batch of {many} over that alone", "at most 1", shown, met)
        )
    return rows


def _small_network(results: dict[str, Any]) -> list[Requirement]:
    race = results["races"]["resnet20"]
    no_amx = "" if "amx_bf16" in results["machine"]["features"] else "this processor has no AMX"
    return [
        _ratio("ResNet-20 against ONNX Runtime float32", faster(race, "netsuke", "onnxruntime_f32"), 6),
        _ratio("ResNet-20 against OpenVINO bfloat16", faster(race, "netsuke", "openvino_bf16"), 1, unfit=no_amx),
    ]


def _files(results: dict[str, Any]) -> list[Requirement]:
    load = median(results["races"]["loading"], "netsuke")
    sizes, example = results["resnet18"]["bytes"], results["example"]
    rows = [_most("loading the ResNet-18 file", load, 50, "ms")]
    for own, bound in (("netsuke", 4.35), ("netsuke_int8", 2.4)):
        rows.append(_most(f"size of the ResNet-18 file, {own}", sizes[own] / 1e6, bound, "MB"))
    for own in ("netsuke", "netsuke_int8"):
        resident = example["resident_bytes"][own] / 1e6 if "resident_bytes" in example else None
        rows.append(_most(f"peak resident memory of the C example, {own}", resident, 40, "MB"))
    program = example["program_bytes"] / 1e6 if "program_bytes" in example else None
    return [*rows, _most("the C example itself, engine included, stripped", program, 1, "MB")]


def _most(what: str, value: float | None, most: float, unit: str) -> Requirement:
    shown = "" if value is None else f"{value:.2f} {unit}"
    return Requirement(what, f"at most {most:g} {unit}", shown, _verdict(value is not None and value <= most, value))
