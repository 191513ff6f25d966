"""Losses and loops that train or retrain a network."""

from netsuke.train.loop import Recipe, accuracy, fit
from netsuke.train.losses import distillation

__all__ = ["Recipe", "accuracy", "distillation", "fit"]
