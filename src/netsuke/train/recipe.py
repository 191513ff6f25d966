"""Recipes: everything that a training run depends on but the data and the machine, as one TOML file."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from netsuke import float_layers
from netsuke.artifact.contract import Error
from netsuke.data import DetectionDataset, RandomResizedCrop, Source, SSDAugmentation
from netsuke.train.randaugment import RandAugment
from netsuke.train.table import Count, Factor, NotNegative, Positive, Share, Table, Whole, check_keys, to_toml

SHIPPED = Path(__file__).with_name("recipes")


@dataclass(frozen=True)
class Model(Table):
    """name: of the registry. arguments: keywords of `netsuke.create_model`; the number of classes is the data's.

    weights: a checkpoint to start from; empty for random weights of the recipe's seed.
    """

    section: ClassVar[str] = "model"
    name: str
    weights: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Quantization(Table):
    """The float layers train in 8 or 4 bits, as `netsuke.quantize` makes them of the model that training starts from.

    layers: as `netsuke export --float-layers` has it, "int8" or "int8,*.gate.*=int4"; empty leaves them float. images:
    so many training images, evenly spaced, choose the ranges to start from.
    """

    section: ClassVar[str] = "quantize"
    layers: str = ""
    images: Count = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers:
            try:
                float_layers.read(self.layers)
            except Error as error:
                raise Error(f"quantize.layers is {error}") from None


@dataclass(frozen=True)
class LowRank(Table):
    """Layers that are split into cheaper ones before training starts: arguments of `netsuke.low_rank`, which has
    nothing to do where both speedups are 1. images: so many training images, evenly spaced, are looked at.
    """

    section: ClassVar[str] = "low_rank"
    speedup: Factor = 1.0
    linear_speedup: Factor = 1.0
    reconstruction: Literal["linear", "nonlinear", "asymmetric", "3d"] = "asymmetric"
    skip: tuple[str, ...] = ()
    images: Count = 3000

    @property
    def splits(self) -> bool:
        return self.speedup > 1 or self.linear_speedup > 1


@dataclass(frozen=True)
class Pruning(Table):
    """Weights that are zeros when training starts and stay so: `netsuke.prune`, by quality or by sparsity, of the
    layers that the patterns fit. Zeros of the starting weights stay zeros as soon as any layer is named:
    sparsity = {"*" = 0.0} does no more than that.

    l1: times the sum of the magnitudes of all convolutions' and linear layers' weights, added to the loss.
    """

    section: ClassVar[str] = "prune"
    quality: dict[str, NotNegative] = field(default_factory=dict)
    sparsity: dict[str, Share] = field(default_factory=dict)
    l1: NotNegative = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quality and self.sparsity:
            raise Error("prune takes one of quality and sparsity")


@dataclass(frozen=True)
class Sharing(Table):
    """Weights that share few numbers of their layer, which train: `netsuke.share`. bits: {pattern of layers: bits}."""

    section: ClassVar[str] = "share"
    bits: dict[str, Count] = field(default_factory=dict)
    start: Literal["linear", "density", "random"] = "linear"


@dataclass(frozen=True)
class Ternarization(Table):
    """Weights of three values, two of which train: `netsuke.ternarize`, by threshold or by sparsity, of the layers that
    the patterns fit, but the model's first and last where these are kept.
    """

    section: ClassVar[str] = "ternary"
    threshold: dict[str, Share] = field(default_factory=dict)
    sparsity: dict[str, Share] = field(default_factory=dict)
    keep_first: bool = True
    keep_last: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold and self.sparsity:
            raise Error("ternary takes one of threshold and sparsity")


@dataclass(frozen=True)
class RateAware(Table):
    """Weights on a grid that train for few bits too: `netsuke.rate_aware`. step: {pattern of layers: step}.

    weight: of a bit in the loss, nats an image; it rises linearly from 0 over the share `rise` of the run. target:
    bytes that these weights are to come to, 0 for what the weight makes of them: the weight of a bit is multiplied by
    (rate / target)^8, at most by 1000. count_steps: the code lengths are learned anew this often. At
    the end of the run biases, and all parameters of one dimension, are rounded to six bits of fraction, which halves
    them.
    """

    section: ClassVar[str] = "rate"
    step: dict[str, Positive] = field(default_factory=dict)
    weight: NotNegative = 0.0
    target: Whole = 0
    rise: Share = 0.3
    count_steps: Count = 20


@dataclass(frozen=True)
class Export(Table):
    """What `netsuke export --run` makes of the result, where its options say nothing else.

    float_layers: as --float-layers has it, empty for "float32". fixed_point, precision, equalise: as --fixed-point,
    --precision and --equalise, empty for none. images: so many training images, evenly spaced, choose the ranges.
    """

    section: ClassVar[str] = "export"
    float_layers: str = ""
    fixed_point: str = ""
    precision: Literal["dynamic", "channel", "static"] = "dynamic"
    equalise: bool = False
    images: Count = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.float_layers and self.fixed_point:
            raise Error("export takes one of float_layers and fixed_point")
        try:
            if self.float_layers:
                float_layers.read(self.float_layers)
            if self.fixed_point:
                float_layers.read_bits(self.fixed_point)
        except Error as error:
            raise Error(f"export: {error}") from None


@dataclass(frozen=True)
class Group(Table):
    """Parameters with settings of their own: those whose name matches one of `names` (shell patterns) and whose number
    of dimensions is among `dimensions` (empty: any). The first group that takes a parameter has it.

    learning_rate_scale: times the optimizer's learning rate.
    """

    section: ClassVar[str] = "optimizer.groups"
    names: tuple[str, ...] = ("*",)
    dimensions: tuple[Whole, ...] = ()
    weight_decay: NotNegative = 0.0
    learning_rate_scale: NotNegative = 1.0


@dataclass(frozen=True)
class Optimizer(Table):
    """momentum, nesterov: of sgd. betas: of adam, radam (decay as an L2 penalty) and adamw (decay apart)."""

    section: ClassVar[str] = "optimizer"
    name: Literal["sgd", "adam", "adamw", "radam"] = "sgd"
    learning_rate: Positive = 0.1
    momentum: Share = 0.9
    nesterov: bool = False
    betas: tuple[Share, ...] = (0.9, 0.999)
    weight_decay: NotNegative = 0.0
    groups: tuple[Group, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.betas) != 2 or max(self.betas) >= 1:
            raise Error(f"optimizer.betas is {list(self.betas)}: give two numbers of 0 or more, below 1")
        if self.nesterov and self.momentum == 0:
            raise Error("optimizer.nesterov needs a momentum above 0")


@dataclass(frozen=True)
class Schedule(Table):
    """The learning rate over a stage, as shares of it and factors of the optimizer's, so that any length is proper.

    warmup: share in which it rises from warmup_start, linearly. After that it goes to `final`: along half a cosine,
    linearly, or times `factor` at each of `milestones`; constant stays. every: when it moves.
    """

    section: ClassVar[str] = "schedule"
    name: Literal["cosine", "linear", "multistep", "constant"] = "cosine"
    every: Literal["step", "epoch"] = "step"
    warmup: Share = 0.0
    warmup_start: Share = 0.0
    final: Share = 0.0
    milestones: tuple[Share, ...] = ()
    factor: Share = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.name == "multistep") != bool(self.milestones):
            raise Error("schedule.milestones are for the schedule multistep, which needs them")


@dataclass(frozen=True)
class Augmentation(Table):
    """Values of `netsuke.train.Augment`, with tables of its RandAugment and, for images that are decoded from files, of
    `netsuke.data.RandomResizedCrop` or, where they have boxes, of its SSDAugmentation; empty for none. views: epoch e
    shows view e mod `views` of each image, so that what the teachers say of it is computed once and kept in
    OUT/teachers; 0 for a new view in every epoch.
    """

    section: ClassVar[str] = "augment"
    crop_padding: Whole = 0
    flip: bool = False
    lighting: NotNegative = 0.0
    views: Whole = 0
    rand_augment: dict[str, Any] = field(default_factory=dict)
    random_resized_crop: dict[str, Any] = field(default_factory=dict)
    ssd: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        tables = {"rand_augment": RandAugment, "random_resized_crop": RandomResizedCrop, "ssd": SSDAugmentation}
        for name, made in tables.items():
            check_keys(f"augment.{name}", getattr(self, name), [field.name for field in fields(made)])


@dataclass(frozen=True)
class Loss(Table):
    """Values of `netsuke.train.losses.Objective` (kind to form) and of `netsuke.train.teachers.Teachers`."""

    section: ClassVar[str] = "loss"
    kind: Literal["labels", "soft", "diversified"] = "labels"
    label_weight: Share = 0.0
    label_smoothing: Share = 0.0
    temperature: Positive = 1.0
    form: Literal["intended", "published"] = "intended"
    curriculum: Literal["all", "consecutive"] = "all"
    teacher_precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class Attention(Table):
    """Attention matching with the teacher (`netsuke.train.attention.attention_matching`), `weight` times of which is
    added to the loss. layers: of the student, as in named_modules(); teacher_layers: of the teacher, one for each.
    """

    section: ClassVar[str] = "attention"
    weight: NotNegative = 0.0
    layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.layers) != len(self.teacher_layers):
            raise Error(
                f"attention has {len(self.layers)} layers and {len(self.teacher_layers)} teacher_layers: they are pairs"
            )
        if (self.weight > 0) != bool(self.layers):
            raise Error("attention needs a weight above 0, layers and teacher_layers, or none of them")


@dataclass(frozen=True)
class Teacher(Table):
    """A trained network whose outputs the student learns: `netsuke.train.TeacherSource`."""

    section: ClassVar[str] = "teacher"
    model: str
    weights: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage(Table):
    """A part of the run with optimizer and schedule of its own, which starts from the weights of the one before.

    share: of the epochs. binary_weights: false leaves the weights of binary layers float (their activations are binary
    all the same), as in the first of ReActNet's two steps (Liu et al. 2020). weight_decay: instead of the optimizer's.
    """

    section: ClassVar[str] = "stage"
    share: Positive
    weight_decay: NotNegative
    binary_weights: bool = True


@dataclass(frozen=True)
class Recipe(Table):
    """A training run.

    epochs: passes over the training images, 0 to leave the weights as they are. batch: images in a step, over all
    processes together. precision: of the forward and backward pass; bfloat16 keeps float32 weights. clip_gradient:
    largest norm of all gradients, 0 for any. validation: how many of the training images are held out and measured
    after each epoch. progressive: when the estimators that sharpen over time are told how far training is
    (`netsuke.nn.progressive`). sync_batch_norm: batch statistics over all processes, on GPUs. shard_group: how many
    WebDataset shards are read from at a time, 0 for all. about: what the recipe is, for people.
    """

    model: Model
    epochs: Whole
    batch: Count = 128
    seed: Whole = 0
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    clip_gradient: NotNegative = 0.0
    validation: Whole = 0
    progressive: Literal["epoch", "step", "never"] = "epoch"
    sync_batch_norm: bool = False
    shard_group: Whole = 0
    about: str = ""
    low_rank: LowRank = field(default_factory=LowRank)
    quantize: Quantization = field(default_factory=Quantization)
    prune: Pruning = field(default_factory=Pruning)
    share: Sharing = field(default_factory=Sharing)
    ternary: Ternarization = field(default_factory=Ternarization)
    rate: RateAware = field(default_factory=RateAware)
    export: Export = field(default_factory=Export)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    augment: Augmentation = field(default_factory=Augmentation)
    loss: Loss = field(default_factory=Loss)
    attention: Attention = field(default_factory=Attention)
    teacher: tuple[Teacher, ...] = ()
    stage: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.loss.kind == "labels") == bool(self.teacher):
            what = "leaves the teachers out" if self.teacher else "needs a teacher"
            raise Error(f"loss.kind {self.loss.kind!r} {what}: give [[teacher]] entries and a kind that uses them")
        if self.attention.weight and (len(self.teacher) != 1 or self.augment.views):
            raise Error("attention needs one teacher that sees each batch: give one [[teacher]], and no augment.views")
        said = {
            "share": self.share.bits,
            "ternary": self.ternary.threshold or self.ternary.sparsity,
            "rate": self.rate.step,
        }
        named = [name for name, table in said.items() if table]
        if len(named) > 1:
            raise Error(f"{' and '.join(named)} both say what numbers weights may be: give one of them")
        if len(self.stage) > self.epochs:
            raise Error(f"{len(self.stage)} stages need at least as many epochs, not {self.epochs}")

    def of_data(self, data: Source[Any]) -> Recipe:
        """The recipe with the number of classes written down, and of a detector their names, which it may leave to the
        data.
        """
        known: dict[str, Any] = {"num_classes": data.num_classes}
        if isinstance(data, DetectionDataset):
            known["labels"] = list(data.classes)
        return replace(self, model=replace(self.model, arguments={**known, **self.model.arguments}))

    def toml(self) -> str:
        """The recipe as canonical TOML, which `read` takes."""
        return to_toml(self)


def parse(text: str, name: str) -> Recipe:
    """The recipe in a TOML text. name: of its file, for messages. Raises netsuke.Error where it is none."""
    return _made(_table(text, name), name)


def differs(there: Recipe, here: Recipe) -> str:
    """The first difference in words, or an empty text where a run of one can go on as the other."""
    there, here = replace(there, about=""), replace(here, about="")
    if there == here:
        return ""
    lines = [recipe.toml().splitlines() for recipe in (there, here)]
    return "; ".join(
        f"{word}: {next((line for line in own if line and line not in other), 'less than that')}"
        for word, own, other in (("there", *lines), ("here", *lines[::-1]))
    )


def shipped() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read(recipe: str, changes: Iterable[str] = (), epochs: int | None = None) -> Recipe:
    """The recipe that comes with the package under this name, or the TOML file at this path.

    changes: "optimizer.learning_rate=0.05", each a key and a TOML value (quotes may be left out). epochs: instead of
    the recipe's; schedules follow. Raises netsuke.Error for what cannot be found, read or used.
    """
    path = SHIPPED / f"{recipe}.toml" if recipe in shipped() else Path(recipe)
    if not path.is_file():
        close = difflib.get_close_matches(recipe, shipped(), n=3, cutoff=0.3) or shipped()
        raise Error(f"no recipe is named {recipe!r}, and there is no such file. Close to it: {', '.join(close)}")
    table = _table(path.read_bytes().decode("utf-8", errors="replace"), str(path))
    for change in changes:
        _change(table, change)
    if epochs is not None:
        table["epochs"] = epochs
    return _made(table, recipe)


def _table(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Error(f"{name} is no TOML file: {error}") from None


def _made(table: dict[str, Any], name: str) -> Recipe:
    try:
        return Recipe.from_table(table)
    except Error as error:
        raise Error(f"{name}: {error}") from None


def _change(table: dict[str, Any], change: str) -> None:
    """Put one KEY=VALUE into the table. A number in the key counts the tables of a list: teacher.0.weights."""
    key, equals, text = change.partition("=")
    *path, last = key.strip().split(".")
    if not equals or not all((*path, last)):
        raise Error(f"--set {change}: write KEY=VALUE, as in optimizer.learning_rate=0.05")
    place: Any = table
    for i, part in enumerate(path):
        is_list = isinstance(place, list)
        place = place[_index(place, part, change)] if is_list else place.setdefault(part, {})
        if not isinstance(place, (dict, list)):
            raise Error(f"--set {change}: {'.'.join(path[: i + 1])} is a value, not a table")
    if isinstance(place, list):
        place[_index(place, last, change)] = _parse(text, change)
    else:
        place[last] = _parse(text, change)


def _index(place: list[Any], part: str, change: str) -> int:
    if not part.isdecimal() or int(part) >= len(place):
        raise Error(f"--set {change}: {part} is no number below {len(place)}, which counts the entries of that list")
    return int(part)


def _parse(text: str, change: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    if list(parsed) == ["value"]:
        return parsed["value"]
    if re.fullmatch(r"[\w./~:@,=* -]+", text.strip()):  # a text whose quotes the shell has eaten
        return text.strip()
    raise Error(f'--set {change}: {text} is no TOML value, such as 0.05, true, "text" or [1, 2]')
