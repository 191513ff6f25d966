"""Recipes, losses and the loop that trains or retrains a network."""

from netsuke.train.augment import Augment
from netsuke.train.deep_compression import Goal, deep_compression
from netsuke.train.loop import Output, Progress, accuracy, fit
from netsuke.train.losses import Objective, distillation
from netsuke.train.low_rank import split_and_train
from netsuke.train.machine import make_fabric
from netsuke.train.randomness import generator, order
from netsuke.train.recipe import Recipe
from netsuke.train.recipe import read as read_recipe
from netsuke.train.recipe import shipped as shipped_recipes
from netsuke.train.run import make_augment, run
from netsuke.train.teachers import Teachers, TeacherSource

__all__ = [
    "Augment",
    "Goal",
    "Objective",
    "Output",
    "Progress",
    "Recipe",
    "TeacherSource",
    "Teachers",
    "accuracy",
    "deep_compression",
    "distillation",
    "fit",
    "generator",
    "make_augment",
    "make_fabric",
    "order",
    "read_recipe",
    "run",
    "shipped_recipes",
    "split_and_train",
]
