"""The tables [prune], [share] and [rate] of a recipe: what a run trains, and what it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mnist import small_set
from netsuke import Error
from netsuke.cli import main
from netsuke.train import Output, Recipe, run

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_set(tmp_path_factory.mktemp("mnist"))


def trained(mnist: str, folder: Path, epochs: int = 2, **tables: Any) -> dict[str, Tensor]:
    optimizer = {"name": "adamw", "learning_rate": 1e-3}
    recipe = Recipe.from_table(
        {"model": {"name": "lenet_300_100"}, "epochs": epochs, "batch": 16, "optimizer": optimizer, **tables}
    )
    run(recipe, mnist, Output(folder), device="cpu")
    return load_file(folder / "model.safetensors")


def zeros(weight: Tensor) -> float:
    return float((weight == 0).float().mean())


def test_pruned_weights_are_zeros_in_plain_weights_and_the_next_run_keeps_them(mnist: str, tmp_path: Path) -> None:
    first = trained(mnist, tmp_path / "1", prune={"sparsity": {"*": 0.8, "ip3": 0.5}})
    assert set(first) == {f"ip{i}.{what}" for i in (1, 2, 3) for what in ("weight", "bias")}
    assert [round(zeros(first[f"ip{i}.weight"]), 2) for i in (1, 2, 3)] == [0.8, 0.8, 0.5]
    model = {"name": "lenet_300_100", "weights": str(tmp_path / "1/model.safetensors")}
    second = trained(mnist, tmp_path / "2", model=model, prune={"sparsity": {"*": 0.0}}, share={"bits": {"*": 3}})
    assert torch.equal(second["ip1.weight"] == 0, first["ip1.weight"] == 0)
    assert all(len(second[f"ip{i}.weight"].unique()) <= 8 for i in (1, 2, 3))


def test_a_rate_aware_run_has_fewer_bits_and_exports(mnist: str, tmp_path: Path) -> None:
    kept = []
    for weight in (0.0, 1e-4):
        values = {"step": {"*": 0.5}, "weight": weight, "rise": 0.0, "count_steps": 4}
        made = trained(mnist, tmp_path / str(weight), 4, rate=values)
        kept.append(1 - zeros(made["ip1.weight"]))
        step = float(made["ip1.weight"][made["ip1.weight"] != 0].abs().min())
        levels = made["ip1.weight"] / step
        assert bool(((levels - levels.round()).abs() < 1e-3).all())
    assert kept[1] < 0.9 * kept[0]
    assert main(["export", "--run", str(tmp_path / "0.0001"), "--out", str(tmp_path / "m.netsuke")]) == 0
    assert main(["eval", str(tmp_path / "m.netsuke"), "--data", mnist]) == 0


def test_a_target_decides_the_weight_of_a_bit(mnist: str, tmp_path: Path) -> None:
    sizes = []
    for target in (0, 10_000, 60_000):
        values = {"step": {"*": 0.5}, "weight": 1e-6, "target": target, "rise": 0.0}
        trained(mnist, tmp_path / str(target), 12, rate=values)
        file = tmp_path / f"{target}.netsuke"
        assert main(["export", "--run", str(tmp_path / str(target)), "--out", str(file)]) == 0
        sizes.append(file.stat().st_size)
    free, small, large = sizes
    assert small < free
    assert small < large


def test_a_run_that_was_cut_off_goes_on_with_its_forms(mnist: str, tmp_path: Path) -> None:
    values = {"prune": {"sparsity": {"*": 0.5}, "l1": 1e-5}, "rate": {"step": {"*": 0.5}, "weight": 1e-6}}
    whole = trained(mnist, tmp_path / "whole", **values)

    class Cut(Exception):
        pass

    def stop(now: Any) -> None:
        if now.share > 0.6:
            raise Cut

    recipe = Recipe.from_table(
        {
            "model": {"name": "lenet_300_100"},
            "epochs": 2,
            "batch": 16,
            "optimizer": {"name": "adamw", "learning_rate": 1e-3},
            **values,
        }
    )
    with pytest.raises(Cut):
        run(recipe, mnist, Output(tmp_path / "cut"), device="cpu", progress=stop)
    resumed = trained(mnist, tmp_path / "cut", **values)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"prune": {"quality": {"*": 1.0}, "sparsity": {"*": 0.5}}}, "one of quality and sparsity"),
        ({"share": {"bits": {"*": 4}}, "rate": {"step": {"*": 0.5}}}, "give one of them"),
        ({"prune": {"sparsity": {"*": 1.5}}}, r"prune.sparsity.\* is 1.5"),
    ],
)
def test_tables_that_contradict_are_refused(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(Error, match=message):
        Recipe.from_table({"model": {"name": "lenet5"}, "epochs": 1, **tables})


def test_a_run_of_no_epochs_leaves_the_weights_as_they_are(mnist: str, tmp_path: Path) -> None:
    first = trained(mnist, tmp_path / "1")
    model = {"name": "lenet_300_100", "weights": str(tmp_path / "1/model.safetensors")}
    recipe = Recipe.from_table({"model": model, "epochs": 0, "batch": 16, "validation": 16})
    made = run(recipe, mnist, Output(tmp_path / "2"), device="cpu")
    assert made["epoch"] == 0
    assert 0 <= made["validation_accuracy"] <= 100
    again = load_file(tmp_path / "2/model.safetensors")
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert main(["export", "--run", str(tmp_path / "2"), "--out", str(tmp_path / "m.netsuke")]) == 0


def test_a_recipe_splits_layers_once_and_trains_them(mnist: str, tmp_path: Path) -> None:
    trained(mnist, tmp_path / "1")
    model = {"name": "lenet_300_100", "weights": str(tmp_path / "1/model.safetensors")}
    made = trained(mnist, tmp_path / "2", model=model, low_rank={"linear_speedup": 4, "images": 50})
    assert made["ip1.reduce.weight"].numel() + made["ip1.restore.weight"].numel() < 300 * 784 / 3
    before = (tmp_path / "2" / "split.safetensors").stat().st_mtime_ns
    trained(mnist, tmp_path / "2", model=model, low_rank={"linear_speedup": 4, "images": 50})
    assert (tmp_path / "2" / "split.safetensors").stat().st_mtime_ns == before
    with pytest.raises(Error, match="of other settings"):
        trained(mnist, tmp_path / "2", model=model, low_rank={"linear_speedup": 2, "images": 50})
    with pytest.raises(Error, match="low_rank splits a trained network"):
        trained(mnist, tmp_path / "3", low_rank={"linear_speedup": 2})
    for values in ({"speedup": 0.5}, {"reconstruction": "cp"}, {"skip": "ip1"}):
        with pytest.raises(Error, match=f"low_rank.{next(iter(values))} is"):
            trained(mnist, tmp_path / "3", low_rank=values)
