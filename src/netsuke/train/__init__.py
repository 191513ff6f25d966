"""Losses and loops that train or retrain a network."""

from netsuke.train.loop import Recipe, accuracy, fit
from netsuke.train.losses import Objective, distillation
from netsuke.train.teachers import Teachers, TeacherSource

__all__ = ["Objective", "Recipe", "TeacherSource", "Teachers", "accuracy", "distillation", "fit"]
