"""Layers of low rank as one job (Zhang et al. 2016): split on training images, measured, trained further, exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from netsuke.artifact.contract import Error
from netsuke.data import Preprocess, holdout, open_dataset
from netsuke.models import create_model, get_model, load_weights
from netsuke.train.deep_compression import tensors
from netsuke.train.loop import Output, Progress, accuracy
from netsuke.train.recipe import Recipe
from netsuke.train.run import run
from netsuke.train.split import split, write_json


def split_and_train(
    recipe: Recipe,
    spec: str,
    folder: Path,
    export: Callable[[Path, Path], None],
    device: str = "auto",
    say: Callable[[str], None] = print,
    progress: Callable[[str, Progress], None] | None = None,
) -> dict[str, Any]:
    """Make the trained network of `recipe.model` (with its weights) cheaper in `folder`, from where it stands there.

    It is what `run` makes of the recipe, which says in `low_rank` how the network is split; and is measured before, in
    between and after on the recipe's `validation` images, which are held out of all of it: if the network was trained
    on them before, they say less than they seem to. The test split is not opened. export: (folder of a run, file to
    write).

    `folder` is that of the run, with compressed.netsuke and report.json, which is returned: per cent of the held-out
    images wrong by the float network, the split one and at the end, multiply-accumulates, and layers.

    Raises netsuke.Error as `netsuke.low_rank` and `run`, for a recipe that splits nothing, compresses in other ways, or
    holds no images out, and where the folder is of other settings.
    """
    _check(recipe)
    entry = get_model(recipe.model.name)
    preprocess = Preprocess(**entry.preprocess)
    data = open_dataset(spec, "train", preprocess, channels=entry.input[0])
    rest, held_out = holdout(data, recipe.validation, recipe.seed)
    recipe = recipe.of_data(data)
    model = create_model(recipe.model.name, **recipe.model.arguments)
    load_weights(model, recipe.model.weights).eval()
    images, labels = tensors(held_out, preprocess)
    before = 100 - accuracy(model, images, labels)
    say(f"{recipe.model.name}: {before:.2f} % of the {len(images):,} held-out images wrong")
    made, found = split(model, recipe, rest, preprocess, folder, lambda name: say(f"fitting {name}"))
    after = 100 - accuracy(made.eval(), images, labels)
    say(f"{found['speedup']:.2f} times fewer multiply-accumulates in its convolutions: {after:.2f} % wrong")

    def told(now: Progress) -> None:
        if progress is not None:
            progress("fine-tuning", now)

    trained = run(recipe, spec, Output(folder), device, told)
    file = folder / "compressed.netsuke"
    export(folder, file)
    result = {
        "model": recipe.model.name,
        "data": spec,
        "held_out": len(held_out),
        **{key: value for key, value in found.items() if key != "settings"},
        "float_error": before,
        "split_error": after,
        "error": 100 - trained["validation_accuracy"],
        "bytes": file.stat().st_size,
    }
    write_json(folder / "report.json", result)
    return result


def _check(recipe: Recipe) -> None:
    if not recipe.low_rank.splits:
        raise Error("nothing would be split: ask for a speedup above 1")
    if not recipe.validation:
        raise Error("images must be held out to measure on: set validation in the recipe")
    plain = Recipe(recipe.model, 1)
    for table in ("quantize", "prune", "share", "ternary", "rate"):
        if getattr(recipe, table) != getattr(plain, table):
            raise Error(f"the recipe of a split network trains plain weights: leave {table} out")
