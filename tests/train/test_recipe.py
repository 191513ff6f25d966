"""Recipes: what they refuse, how they are changed, and that they come back from their own text."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from netsuke import Error
from netsuke.data import RandomResizedCrop
from netsuke.models import create_model
from netsuke.train import read_recipe, shipped_recipes
from netsuke.train.optimizers import make_optimizer, set_learning_rate
from netsuke.train.randaugment import RandAugment
from netsuke.train.recipe import Optimizer, Recipe, Schedule, Stage, differs, parse
from netsuke.train.schedule import factor
from netsuke.train.stages import parts

LEAST = '[model]\nname = "resnet20"\n'
SHIPPED = (
    "adabin-bccd-ssd300",
    "adabin-cifar10-resnet18",
    "adabin-cifar10-resnet20",
    "adabin-cifar10-vggsmall",
    "adabin-imagenet-alexnet",
    "adabin-imagenet-meliusnet59",
    "adabin-imagenet-reactnet-a",
    "adabin-imagenet-resnet18",
    "adabin-imagenet-resnet18-two-stage",
    "adabin-voc0712-ssd300",
    "basenet-k1-imagenet",
    "basenet-k4-imagenet",
    "bccd-ssd300",
    "birealnet18-imagenet",
    "birealnet34-imagenet",
    "bnext-imagenet-large",
    "bnext-imagenet-middle",
    "bnext-imagenet-small",
    "bnext-imagenet-tiny",
    "bnext18-cifar10",
    "bnext18-imagenet",
    "boolnet-k4-imagenet",
    "boolnet-star-k4-imagenet",
    "deep-compression",
    "float-cifar10-resnet18",
    "float-cifar10-resnet20",
    "float-cifar10-vggsmall",
    "float-imagenet-resnet18",
    "float-mnist-lenet-300-100",
    "float-mnist-lenet5",
    "low-rank",
    "meliusnet22-imagenet",
    "meliusnet29-imagenet",
    "meliusnet42-imagenet",
    "meliusnet59-imagenet",
    "pokebnn-imagenet",
    "reactnet-a-imagenet",
    "reactnet-resnet18-imagenet",
    "real-to-binary-resnet18-imagenet-stage1",
    "real-to-binary-resnet18-imagenet-stage2",
    "real-to-binary-resnet18-imagenet-stage3",
    "ttq-cifar10-resnet32",
    "ttq-cifar10-resnet56",
    "voc0712-ssd300",
    "xnor-imagenet-alexnet",
    "xnor-imagenet-resnet18",
)


def recipe(text: str = "") -> Recipe:
    return parse(f"epochs = 10\n{text}\n{LEAST}", "test")


def test_the_shipped_recipes_are_these() -> None:
    assert tuple(shipped_recipes()) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_is_of_a_model_that_exists_and_comes_back_from_its_text(name: str) -> None:
    read = read_recipe(name)
    with torch.device("meta"):
        create_model(read.model.name, num_classes=10, **read.model.arguments)
    for teacher in read.teacher:
        if teacher.model.startswith("timm/"):
            continue
        with torch.device("meta"):
            create_model(teacher.model, **teacher.arguments)
    assert read.about
    assert parse(read.toml(), name) == read
    assert parse(read.toml(), name).toml() == read.toml()


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)


@given(about=texts, arguments=st.dictionaries(texts, values, max_size=4), rate=st.floats(1e-300, 1e300))
def test_any_values_come_back_from_the_text(about: str, arguments: dict[str, object], rate: float) -> None:
    made = Recipe.from_table(
        {
            "about": about,
            "epochs": 3,
            "model": {"name": "x", "arguments": arguments},
            "optimizer": {"learning_rate": rate, "groups": [{"names": [about, "b"]}, {"dimensions": [1]}]},
            "stage": [{"share": 1, "weight_decay": 0}, {"share": 2.5, "weight_decay": 1e-9, "binary_weights": False}],
        }
    )
    assert parse(made.toml(), "test") == made


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch = 3", "no key 'epoch'. Close to it: epochs"),
        ("batch = 0", "batch is 0: give a number 1 or more"),
        ("batch = 1.5", "batch is 1.5: give a whole number"),
        ("batch = true", "batch is True: give a whole number"),
        ('precision = "half"', "precision is 'half': choose one of float32, bfloat16, float64"),
        ("optimizer = 3", "optimizer is 3: give a table"),
        ("optimizer.learning_rat = 1", "optimizer has no key 'learning_rat'. Close to it: learning_rate"),
        ("optimizer.learning_rate = 0", "optimizer.learning_rate is 0: give a number above 0"),
        ('optimizer.learning_rate = "0.1"', "optimizer.learning_rate is '0.1': give a finite number"),
        ("optimizer.learning_rate = nan", "give a finite number"),
        ("optimizer.momentum = 1.5", "optimizer.momentum is 1.5: give a number 0 or more, at most 1"),
        ("optimizer.betas = [0.9, 1]", "optimizer.betas"),
        ("optimizer.groups = [{ names = 1 }]", "optimizer.groups.names is 1: give a list"),
        ("optimizer.groups = { names = [] }", "optimizer.groups is {'names': []}: give a list"),
        ('schedule.name = "multistep"', "schedule.milestones"),
        ("schedule.milestones = [0.5]", "schedule.milestones"),
        ("augment.rand_augment.magnitud = 3", "augment.rand_augment has no key 'magnitud'. Close to it: magnitude"),
        ('loss.kind = "soft"', "loss.kind 'soft' needs a teacher"),
        ('teacher = [{ model = "resnet20" }]', "loss.kind 'labels' leaves the teachers out"),
        ("stage = [{ share = 1 }]", "stage.weight_decay is missing"),
        ("seed = -1", "seed is -1: give a number 0 or more"),
        ("batch = [", "test is no TOML file"),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    with pytest.raises(Error) as caught:
        recipe(text)
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_missing_is_named() -> None:
    with pytest.raises(Error, match="epochs is missing"):
        parse(LEAST, "test")
    with pytest.raises(Error, match=r"model\.name is missing"):
        parse("epochs = 1\n[model]\n", "test")


def test_python_makes_the_same_checks() -> None:
    with pytest.raises(Error, match=r"optimizer\.weight_decay is -1"):
        Optimizer(weight_decay=-1)
    assert Optimizer(learning_rate=1).learning_rate.is_integer()


def test_set_changes_any_value(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'epochs = 10\nteacher = [{{ model = "resnet20" }}]\nloss.kind = "soft"\n{LEAST}')
    changed = read_recipe(
        str(path),
        [
            "optimizer.learning_rate=0.05",
            "precision=bfloat16",
            'about = "a = b"',
            "schedule.warmup=0.1",
            "teacher.0.weights=/some/where.th",
            "model.arguments.center=paper",
            "optimizer.groups=[{ dimensions = [0, 1] }]",
        ],
        epochs=4,
    )
    assert (changed.optimizer.learning_rate, changed.precision, changed.epochs) == (0.05, "bfloat16", 4)
    assert (changed.about, changed.schedule.warmup) == ("a = b", 0.1)
    assert changed.teacher[0].weights == "/some/where.th"
    assert changed.model.arguments == {"center": "paper"}
    assert changed.optimizer.groups[0].dimensions == (0, 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("optimizer.learning_rate", "write KEY=VALUE"),
        ("=1", "write KEY=VALUE"),
        ("batch={", "no TOML value"),
        ("batch.size=1", "batch is a value, not a table"),
        ("teacher.0.weights=x", "0 is no number below 0"),
        ("optimiser.learning_rate=1", "Close to it: optimizer"),
    ],
)
def test_a_wrong_set_is_named(change: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"epochs = 10\nbatch = 1\nteacher = []\n{LEAST}")
    with pytest.raises(Error) as caught:
        read_recipe(str(path), [change])
    assert says in str(caught.value)


def test_a_recipe_that_is_not_there() -> None:
    with pytest.raises(Error, match="Close to it: adabin-cifar10-resnet20"):
        read_recipe("adabin-cifar10-resnet2")


def test_recipes_differ_by_what_matters() -> None:
    assert differs(recipe(), recipe('about = "other words"')) == ""
    assert differs(recipe(), recipe("batch = 64")) == "there: batch = 128; here: batch = 64"
    assert differs(recipe(), recipe("augment.rand_augment.std = 1")) == "there: less than that; here: std = 1"


# ----------------------------------------------------------------------------------------------- over time
def test_schedules_by_hand() -> None:
    cosine = Schedule("cosine", warmup=0.2, warmup_start=0.5, final=0.1)
    assert [factor(cosine, p) for p in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0.5, 0.75, 1, 0.55, 0.1])
    assert factor(Schedule("cosine"), 0.25) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    linear = Schedule("linear")
    assert [factor(linear, p) for p in (0, 0.25, 1)] == [1, 0.75, 0]
    steps = Schedule("multistep", milestones=(0.5, 0.75), factor=0.1)
    assert [factor(steps, p) for p in (0, 0.49, 0.5, 0.75, 1)] == pytest.approx([1, 1, 0.1, 0.01, 0.01])
    assert factor(Schedule("constant", warmup=1), 1) == 1


@given(st.integers(1, 40), st.lists(st.floats(0.01, 10), min_size=1, max_size=5))
def test_stages_share_the_epochs(epochs: int, shares: list[float]) -> None:
    shares = shares[:epochs]
    stages = tuple(Stage(share, 0.0) for share in shares)
    made = parts(Recipe.from_table({"model": {"name": "x"}, "epochs": epochs, "stage": stages}))
    assert [part.first for part in made] == [0, *(part.last for part in made[:-1])]
    assert made[-1].last == epochs
    assert all(part.epochs >= 1 for part in made)


def test_two_stages_as_written() -> None:
    first, second = parts(read_recipe("adabin-imagenet-resnet18-two-stage", epochs=5))
    assert (first.first, first.last, second.last) == (0, 2, 5)
    assert (first.binary_weights, second.binary_weights) == (False, True)
    assert (first.optimizer.weight_decay, second.optimizer.weight_decay) == (1e-5, 0)


# ----------------------------------------------------------------------------------------------- BNext's
BNEXT = [name for name in SHIPPED if name.startswith("bnext")]


@pytest.mark.parametrize("name", BNEXT)
def test_bnext_trains_as_its_code_does(name: str) -> None:
    """AdamW, 1e-8 for whatever has four dimensions and 1e-3 for the rest; five epochs up from 1e-5, down to 1e-7."""
    read = read_recipe(name)
    assert (read.clip_gradient, read.precision) == (5, "float32")
    assert read.batch == (128 if name.endswith("large") else 512)
    model = create_model(read.model.name, num_classes=10, width=0.25)
    optimizer = make_optimizer(model, read.optimizer)
    assert type(optimizer) is torch.optim.AdamW
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for key, parameter in model.named_parameters():
        expected = None if not parameter.requires_grad else 1e-8 if parameter.dim() == 4 else 1e-3
        assert decays.get(id(parameter)) == expected, key
    rates = [1e-3 * factor(read.schedule, epoch / read.epochs) for epoch in range(read.epochs + 1)]
    assert rates[:6] == pytest.approx([1e-5 + epoch * (1e-3 - 1e-5) / 5 for epoch in range(6)])
    middle = 5 + (read.epochs - 5) / 2
    assert rates[-1] == pytest.approx(1e-7)
    assert 1e-3 * factor(read.schedule, middle / read.epochs) == pytest.approx((1e-3 + 1e-7) / 2)


@pytest.mark.parametrize(
    ("name", "teachers"),
    [
        ("bnext-imagenet-tiny", "b0 b2"),
        ("bnext-imagenet-small", "b0 b2"),
        ("bnext-imagenet-middle", "b0 b2 b4"),
        ("bnext-imagenet-large", "b0 b4 convnext_tiny convnext_tiny"),
        ("bnext18-imagenet", "b0 b2"),
    ],
)
def test_bnext_learns_from_its_teachers(name: str, teachers: str) -> None:
    """Augmented as "rand-m7-mstd0.5-inc1"; distillation alone, a weaker assistant beside the main teacher."""
    read = read_recipe(name)
    assert [t.model.removeprefix("timm/").removeprefix("efficientnet_") for t in read.teacher] == teachers.split()
    assert (read.epochs, read.loss.kind, read.loss.label_weight, read.loss.temperature) == (512, "diversified", 0, 1)
    assert read.loss.curriculum == "consecutive"
    assert RandAugment(**read.augment.rand_augment) == RandAugment.parse("rand-m7-mstd0.5-inc1")
    assert RandomResizedCrop(**read.augment.random_resized_crop) == RandomResizedCrop(interpolation="bicubic")


# ----------------------------------------------------------------------------------------------- optimizers
def test_groups_take_parameters_by_name_and_dimensions() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    words = {
        "name": "adamw",
        "learning_rate": 0.2,
        "weight_decay": 0.5,
        "groups": [{"names": ["2.*"], "learning_rate_scale": 2}, {"dimensions": [0, 1], "weight_decay": 0.25}],
    }
    optimizer = make_optimizer(model, Optimizer.from_table(words))
    set_learning_rate(optimizer, 0.5)
    seen = [([p.shape for p in g["params"]], g["weight_decay"], g["lr"]) for g in optimizer.param_groups]
    assert seen == [
        ([(2, 2), (2,)], 0, pytest.approx(0.2)),
        ([(2,), (2,), (2,)], 0.25, pytest.approx(0.1)),
        ([(2, 1, 3, 3)], 0.5, pytest.approx(0.1)),
    ]
    with pytest.raises(Error, match=r"no parameter is left for conv\*"):
        make_optimizer(model, Optimizer.from_table({"groups": [{"names": ["conv*"]}]}))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "radam"])
def test_optimizers_are_those_of_their_names(name: str) -> None:
    """One step from w = 1 with gradient 2, decay 0.1, rate 0.01, by hand."""
    model = nn.Linear(1, 1, bias=False).double()
    model.weight.data.fill_(1.0)
    optimizer = make_optimizer(model, Optimizer.from_table({"name": name, "weight_decay": 0.1}))
    set_learning_rate(optimizer, 0.1)
    model.weight.grad = torch.full((1, 1), 2.0, dtype=torch.float64)
    optimizer.step()
    by_hand = {"sgd": 1 - 0.01 * (2 + 0.1), "adam": 1 - 0.01, "adamw": 1 - 0.01 * 0.1 - 0.01, "radam": 1 - 0.01 * 2.1}[
        name
    ]
    assert model.weight.item() == pytest.approx(by_hand, abs=1e-9)
