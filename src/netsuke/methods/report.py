"""What `binarize`, `prune_channels` and `low_rank` did, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class BinarizedLayer:
    """threshold, half_distance: where its binary set starts. ones: share of +1 among its calibration bits, 0 to 1."""

    name: str
    kind: str
    threshold: float
    half_distance: float
    ones: float


@dataclass
class BinarizeReport:
    """layers: what became binary, in running order. skipped: (layer, why it stays float). relus: names of the two-sided
    modules that took a ReLU's place. relus_kept: (ReLU, why it stays). str() prints it all."""

    method: str
    layers: list[BinarizedLayer] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    relus: list[str] = field(default_factory=list)
    relus_kept: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.method}: {len(self.layers)} layers binary, {len(self.skipped)} left as they were, "
            f"{len(self.relus)} ReLUs two-sided, {len(self.relus_kept)} kept"
        ]
        width = max((len(name) for name, *_ in self._names()), default=0)
        for layer in self.layers:
            lines.append(
                f"  {layer.name:<{width}}  {layer.kind}, threshold {layer.threshold:.4g}, "
                f"half distance {layer.half_distance:.4g}, {100 * layer.ones:.1f} % ones"
            )
        for title, rows in (("left as they were", self.skipped), ("ReLUs kept", self.relus_kept)):
            if rows:
                lines += [f"{title}:", *(f"  {name:<{width}}  {why}" for name, why in rows)]
        if self.relus:
            lines += ["ReLUs made two-sided:", *(f"  {name}" for name in self.relus)]
        return "\n".join(lines)

    def _names(self) -> list[tuple[str, ...]]:
        return [(layer.name,) for layer in self.layers] + [*self.skipped, *self.relus_kept]


# What remains. "tensors": parameter or buffer -> dimension -> indices of the channels that stay, where some go.
# "paddings": module -> channels of zeros before and after. Plain enough for JSON.
Channels = dict[str, dict[str, Any]]


@dataclass
class PrunedLayer:
    """inputs, outputs: channels before and after. macs: multiply-accumulates of one image before and after."""

    name: str
    kind: str
    inputs: tuple[int, int]
    outputs: tuple[int, int]
    macs: tuple[int, int]


@dataclass
class ChannelsReport:
    """layers: every convolution and linear layer, in running order. skipped: (layer, why all its outputs stay).
    channels: for `netsuke.shrink`. str() prints it all."""

    importance: str
    channels: Channels
    layers: list[PrunedLayer] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    @property
    def macs(self) -> tuple[int, int]:
        """Multiply-accumulates of one image, before and after."""
        return sum(layer.macs[0] for layer in self.layers), sum(layer.macs[1] for layer in self.layers)

    def __str__(self) -> str:
        before, after = self.macs
        lines = [f"{self.importance}: {after:,} of {before:,} multiply-accumulates remain, {after / (before or 1):.1%}"]
        width = max((len(name) for name in [*(x.name for x in self.layers), *(n for n, _ in self.skipped)]), default=0)
        for x in self.layers:
            lines.append(
                f"  {x.name:<{width}}  {x.kind}, {x.inputs[0]} -> {x.outputs[0]} channels now "
                f"{x.inputs[1]} -> {x.outputs[1]}, {x.macs[1] / (x.macs[0] or 1):.1%} of {x.macs[0]:,}"
            )
        if self.skipped:
            lines += ["outputs left whole:", *(f"  {name:<{width}}  {why}" for name, why in self.skipped)]
        return "\n".join(lines)


@dataclass
class LowRankLayer:
    """rank: as in `ranks` of the report. outputs: d. energy: the share that the channels' rank keeps of the energy of
    the responses, or for a linear layer of its weights. fit: "linear" or "nonlinear", or for a linear layer "weights".
    error: ||r(T) - r(made)||^2 / ||r(T)||^2 over the calibration samples, None for a linear layer. macs:
    multiply-accumulates of one image before and after. note: why the fit is linear where it was to be nonlinear."""

    name: str
    rank: int | tuple[int, int | None]
    outputs: int
    energy: float
    fit: str
    error: float | None = None
    macs: tuple[int, int] = (0, 0)
    note: str = ""


@dataclass
class LowRankReport:
    """layers: what was split, in running order. skipped: (layer, why it stays whole). ranks: for `netsuke.factorize`,
    and for JSON. convolutions, linears: multiply-accumulates of one image before and after, of all there are, split or
    not. str() prints it all."""

    reconstruction: str
    ranks: dict[str, Any]
    convolutions: tuple[int, int]
    linears: tuple[int, int]
    layers: list[LowRankLayer] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    @property
    def speedup(self) -> float:
        """Multiply-accumulates of the convolutions before over those after."""
        return self.convolutions[0] / (self.convolutions[1] or 1)

    def __str__(self) -> str:
        before, after = self.convolutions
        lines = [
            f"{self.reconstruction}: {after:,} of {before:,} multiply-accumulates of convolutions remain, "
            f"{self.speedup:.2f}x fewer; {self.linears[1]:,} of {self.linears[0]:,} of linear layers"
        ]
        width = max((len(name) for name in [*(x.name for x in self.layers), *(n for n, _ in self.skipped)]), default=0)
        for x in self.layers:
            rank = " and ".join(str(r) for r in (x.rank if isinstance(x.rank, tuple) else (x.rank,)) if r is not None)
            lost = f", error {x.error:.2%}" if x.error is not None else ""
            lines.append(
                f"  {x.name:<{width}}  rank {rank} of {x.outputs}, {x.energy:.2%} of the energy, {x.fit} fit{lost}, "
                f"{x.macs[1] / (x.macs[0] or 1):.1%} of {x.macs[0]:,}{f' ({x.note})' if x.note else ''}"
            )
        if self.skipped:
            lines += ["left whole:", *(f"  {name:<{width}}  {why}" for name, why in self.skipped)]
        return "\n".join(lines)
