"""A whole training run from a recipe and a SPEC: what `netsuke train` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from lightning_fabric import Fabric
from torch import nn

from netsuke import atomic, float_layers
from netsuke.artifact.contract import Error
from netsuke.data import Dataset, DetectionDataset, Preprocess, Source, holdout, normalise, open_dataset, open_detection
from netsuke.methods import prune, quantize, rate_aware, share, ternarize
from netsuke.methods.rate_aware import round_biases
from netsuke.models import create_model, get_model, load_weights
from netsuke.nn import bake
from netsuke.train.augment import Augment
from netsuke.train.cached_teachers import CachedTeachers
from netsuke.train.loop import Output, Progress, fit
from netsuke.train.machine import make_fabric
from netsuke.train.randaugment import RandAugment
from netsuke.train.recipe import Augmentation, Recipe, Teacher
from netsuke.train.split import split
from netsuke.train.table import to_toml
from netsuke.train.teachers import PRETRAINED, TIMM, Teachers, TeacherSource
from netsuke.train.views import FixedViews


def run(
    recipe: Recipe,
    spec: str,
    output: Output,
    device: str = "auto",
    progress: Callable[[Progress], None] | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train by `recipe` on the training split of the data set `spec`, in `output.folder`, from where it stands there.

    Writes what `fit` does and, at the end, model.safetensors: the weights after the last epoch, plain ones under the
    model's own names also where they were pruned, shared, ternary or on a grid. Returns `out` (that
    file), its `bytes`, and the last row of the log. The test split is not opened. progress, report: as for `fit`. Where
    the recipe splits layers, the folder also holds how (`netsuke.train.split`).

    Raises netsuke.Error as `fit` and the methods that the recipe names, and where model, data or teachers of the recipe
    cannot be had.
    """
    entry = get_model(recipe.model.name)
    preprocess = Preprocess(**entry.preprocess)
    fabric = make_fabric(device, recipe.precision)
    with fabric.rank_zero_first(local=True):  # one process of a machine makes the index of new shards
        data: Source[Any]
        if entry.task == "detection":
            data = open_detection(spec, "train", preprocess)
        else:
            data = open_dataset(spec, "train", preprocess, channels=entry.input[0])
    _check_shape(recipe.model.name, entry.input, data)
    recipe = recipe.of_data(data)
    validation = None
    if recipe.validation:
        data, validation = holdout(data, recipe.validation, recipe.seed)
    with fabric.rank_zero_first():  # one process splits layers, the others find them in the folder
        model = _model(recipe, data, preprocess, output.folder)
    augment = make_augment(recipe.augment, preprocess)
    teachers = _teachers(recipe, _labelled(data, "teacher"), output.folder, fabric) if recipe.teacher else None
    row = fit(model, recipe, data, augment, validation, teachers, output, fabric, progress, report)
    bake(model)
    if recipe.rate.step:
        round_biases(model)
    path = output.folder / "model.safetensors"
    if fabric.is_global_zero:
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        atomic.write(path, safetensors.torch.save(weights))
    fabric.barrier()
    return {"out": str(path), "bytes": path.stat().st_size, **row}


def _model(recipe: Recipe, data: Source[Any], preprocess: Preprocess, folder: Path) -> nn.Module:
    model = create_model(recipe.model.name, seed=recipe.seed, **recipe.model.arguments)
    if recipe.model.weights:
        load_weights(model, recipe.model.weights)
    if recipe.low_rank.splits:
        model, _ = split(model, recipe, _labelled(data, "low_rank"), preprocess, folder)
    if recipe.quantize.layers:
        images = np.concatenate([images for images, _ in data.batches(64, recipe.quantize.images)])
        model = quantize(
            model, float_layers.read(recipe.quantize.layers), torch.from_numpy(normalise(images, preprocess))
        )
    return compress(model, recipe)


def compress(model: nn.Module, recipe: Recipe) -> nn.Module:
    """The model with the forms of weights that the recipe trains: pruned, then shared, ternary or on a grid."""
    if recipe.prune.quality:
        model = prune(model, quality=recipe.prune.quality)
    elif recipe.prune.sparsity:
        model = prune(model, sparsity=recipe.prune.sparsity)
    if recipe.share.bits:
        model = share(model, recipe.share.bits, recipe.share.start, recipe.seed)
    ternary = recipe.ternary
    if ternary.threshold or ternary.sparsity:
        values = {"threshold": ternary.threshold} if ternary.threshold else {"sparsity": ternary.sparsity}
        model = ternarize(model, **values, keep_first=ternary.keep_first, keep_last=ternary.keep_last)
    return rate_aware(model, recipe.rate.step) if recipe.rate.step else model


def _labelled(data: Source[Any], section: str) -> Dataset:
    """The data set, for what only a classifier can have."""
    if isinstance(data, DetectionDataset):
        raise Error(f"{section} is for classifiers, and {data.name} is for detectors: leave it out of the recipe")
    assert isinstance(data, Dataset)
    return data


def _check_shape(model: str, wanted: tuple[int, int, int], data: Source[Any]) -> None:
    """Files are cut to size as they are decoded; images in memory must have the size already."""
    if data.decodes:
        return
    found = data.read(np.zeros(1, np.int64))[0].shape[1:]
    if found != wanted:
        shapes = ["x".join(map(str, shape)) for shape in (wanted, found)]
        raise Error(
            f"{model} takes {shapes[0]} images, {data.name} has {shapes[1]}: give other --data, or a recipe for it"
        )


def make_augment(values: Augmentation, preprocess: Preprocess) -> Augment:
    """The augmentation that a recipe describes."""
    rand_augment = RandAugment(**values.rand_augment) if values.rand_augment else None
    return Augment(preprocess, values.crop_padding, values.flip, rand_augment, values.lighting, channels_last=True)


def _teachers(recipe: Recipe, data: Dataset, folder: Path, fabric: Fabric) -> Teachers | CachedTeachers:
    def source(i: int, teacher: Teacher) -> TeacherSource:
        if not teacher.weights:
            what = f"FILE, or {PRETRAINED}" if teacher.model.startswith(TIMM) else "FILE"
            raise Error(
                f"teacher.{i}.weights is empty: say where the weights of {teacher.model} are, "
                f"as in --set teacher.{i}.weights={what}"
            )
        return TeacherSource(teacher.model, teacher.weights, {"num_classes": data.num_classes, **teacher.arguments})

    teachers = Teachers.load(
        [source(i, teacher) for i, teacher in enumerate(recipe.teacher)],
        curriculum=recipe.loss.curriculum,
        precision=recipe.loss.teacher_precision,
        device=fabric.device,
        watch=recipe.attention.teacher_layers,
    )
    if not recipe.augment.views:
        return teachers
    views = FixedViews(len(data), recipe.augment.views, recipe.seed)
    name = f"teachers-{fabric.node_rank}" if fabric.node_rank else "teachers"  # machines cannot share the files
    return CachedTeachers(teachers, folder / name, data, views, to_toml(recipe.augment))
