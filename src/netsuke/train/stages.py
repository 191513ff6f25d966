"""The parts of a run: which epochs they take, and how they train."""

from __future__ import annotations

from dataclasses import dataclass, replace

from netsuke.train.recipe import Optimizer, Recipe


@dataclass(frozen=True)
class Part:
    """A stage of a recipe with its epochs: first to last, last not included."""

    first: int
    last: int
    optimizer: Optimizer
    binary_weights: bool

    @property
    def epochs(self) -> int:
        return self.last - self.first


def parts(recipe: Recipe) -> list[Part]:
    """The stages of a recipe, or the one that it is without any. Each has an epoch at least."""
    if not recipe.stage:
        return [Part(0, recipe.epochs, recipe.optimizer, True)]
    whole = sum(stage.share for stage in recipe.stage)
    made: list[Part] = []
    done, first = 0.0, 0
    for i, stage in enumerate(recipe.stage):
        done += stage.share
        waiting = len(recipe.stage) - i - 1  # stages that still need an epoch each
        last = min(max(round(recipe.epochs * done / whole), first + 1), recipe.epochs - waiting)
        made.append(Part(first, last, replace(recipe.optimizer, weight_decay=stage.weight_decay), stage.binary_weights))
        first = last
    return made
