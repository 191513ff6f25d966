"""The learning rate as a function of how much of a stage is done."""

from __future__ import annotations

import math

from netsuke.train.recipe import Schedule


def factor(schedule: Schedule, progress: float) -> float:
    """What the optimizer's learning rate is multiplied with. progress: share of the stage that is done, 0 to 1."""
    if progress < schedule.warmup:
        return schedule.warmup_start + (1 - schedule.warmup_start) * progress / schedule.warmup
    if schedule.name == "multistep":
        return schedule.factor ** sum(progress >= milestone for milestone in schedule.milestones)
    if schedule.name == "constant":
        return 1.0
    left = 1.0 if schedule.warmup == 1 else (1 - progress) / (1 - schedule.warmup)
    if schedule.name == "cosine":
        left = (1 - math.cos(math.pi * left)) / 2
    return schedule.final + (1 - schedule.final) * left
