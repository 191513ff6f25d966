"""What `binarize` did, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field


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
