"""What `binarize` and `prune_channels` did, layer by layer."""

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
