"""The training loop: a recipe, a model and a data set; on Lightning Fabric."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import TensorBoardLogger
from torch import Tensor, nn

from netsuke import atomic
from netsuke.artifact.contract import Error
from netsuke.data import Loader, RandomResizedCrop, Source, SSDAugmentation
from netsuke.nn import binarize_weights, count_levels, fuse, keep_weights_float, progressive, rate
from netsuke.nn.weights import magnitudes
from netsuke.train import checkpoint
from netsuke.train.attention import Watch, attention_matching
from netsuke.train.augment import Augment
from netsuke.train.batches import Batch, Batches, label_tensor
from netsuke.train.cached_teachers import CachedTeachers
from netsuke.train.faults import first_fault
from netsuke.train.folder import claimed
from netsuke.train.log import Log
from netsuke.train.machine import make_fabric
from netsuke.train.optimizers import make_optimizer, set_learning_rate
from netsuke.train.randomness import derive, seed_device
from netsuke.train.recipe import Recipe, differs, parse
from netsuke.train.schedule import factor
from netsuke.train.stages import Part, parts
from netsuke.train.tasks import task_of
from netsuke.train.teachers import Teachers
from netsuke.train.views import FixedViews

EVALUATION_BATCH = 256
CLOCK_STEPS = 20  # over several processes the clock is asked this often: one decides, and the others must hear of it
CURVE_STEPS = 50  # between two points of TensorBoard's loss curve
REMEDY = "try a lower optimizer.learning_rate, a warmup, or clip_gradient; the last checkpoint is from before it"


@dataclass(frozen=True)
class Output:
    """What a run writes into `folder`: checkpoint.pt, log.csv, recipe.toml (as it runs) and, if wanted, tensorboard.

    checkpoint_minutes, checkpoint_steps: a checkpoint is written after each epoch, and this often in between; 0 for
    never.
    """

    folder: Path
    checkpoint_minutes: float = 5.0
    checkpoint_steps: int = 0
    tensorboard: bool = False


@dataclass
class Position:
    """Where a run is. step: optimizer steps done. epoch: whole ones done. batch: batches done of the one begun.

    seconds: of training so far. loss: summed over the images of the epoch begun, which are `images`.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    images: int = 0


@dataclass(frozen=True)
class Progress:
    """After a step. share: of the run, 0 to 1. epoch: counted from 1. loss: of the last batch."""

    share: float
    epoch: int
    loss: float
    images_per_second: float


def fit(
    model: nn.Module,
    recipe: Recipe,
    data: Source[Any],
    augment: Augment,
    validation: Source[Any] | None = None,
    teachers: Teachers | CachedTeachers | None = None,
    output: Output | None = None,
    fabric: Fabric | None = None,
    progress: Callable[[Progress], None] | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train `model` in place by `recipe` and leave it in eval mode, on the CPU. Returns the last row of the log.

    model: (N, C, H, W) -> logits (N, classes), or one that ends in a `netsuke.nn.Detector`. Of the recipe's `model`,
    `teacher` and `validation` nothing is used: they are given as objects, and so is the augmentation but for its
    random_resized_crop, ssd and views. Cached teachers bring their own views.

    output: where to write; a run that was cut off goes on from its checkpoint there, with weights that are bit for bit
    those of a run that was not (on one CPU, with one number of threads). Without it nothing is written. fabric: where
    to run, `netsuke.train.make_fabric()` when not given. progress: called after each step. report: called with each row
    of the log.

    Raises netsuke.Error where the data are too few for a batch, a checkpoint is damaged or of another run, the folder
    is in use, the disk is full, or a number stops being finite: it names the step and the layer.
    """
    fabric = fabric if fabric is not None else make_fabric(precision=recipe.precision)
    loop = _Loop(model, recipe, data, augment, validation, teachers, output, fabric, progress, report)
    with claimed(output.folder) if output is not None and fabric.is_global_zero else nullcontext():
        return loop.run()


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch: int = EVALUATION_BATCH) -> float:
    """Per cent of the images (float32 (N, C, H, W)) whose largest logit is their label's. `model` is in eval mode."""
    right = sum(
        int((model(x).argmax(1) == y).sum()) for x, y in zip(images.split(batch), labels.split(batch), strict=True)
    )
    return 100 * right / len(images)


@dataclass
class _Loop:
    model: nn.Module
    recipe: Recipe
    data: Source[Any]
    augment: Augment
    validation: Source[Any] | None
    teachers: Teachers | CachedTeachers | None
    output: Output | None
    fabric: Fabric
    progress: Callable[[Progress], None] | None
    report: Callable[[dict[str, Any]], None] | None
    at: Position = field(default_factory=Position)
    row: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = self.recipe.augment
        views = self.teachers.views if isinstance(self.teachers, CachedTeachers) else None
        if views is None and values.views:
            views = FixedViews(len(self.data), values.views, self.recipe.seed)
        self.batches = Batches(
            self.data,
            self.augment,
            self.recipe.batch,
            self.recipe.seed,
            self._crop(),
            views,
            self.recipe.shard_group,
            self.fabric.global_rank,
            self.fabric.world_size,
            self.fabric.device,
        )
        self.task = task_of(self.model, self.recipe, self.data, self.validation)
        self.metric = self.task.training().to(self.fabric.device)
        self.metric.persistent(True)
        self.log = self.curves = None
        if self.output is not None and self.fabric.is_global_zero:
            self.log = Log(self.output.folder / "log.csv", self.task.score)
            if self.output.tensorboard:
                self.curves = TensorBoardLogger(self.output.folder, "tensorboard", "")

    def _crop(self) -> RandomResizedCrop | SSDAugmentation | None:
        """What is done to images as they are decoded."""
        values = self.recipe.augment
        if values.ssd:
            size = self.augment.preprocess.resize
            if values.ssd.get("size", size) != size:
                raise Error(
                    f"augment.ssd.size is {values.ssd['size']}, and the model takes images of {size}: leave it out"
                )
            return SSDAugmentation(**{**values.ssd, "size": size})
        return RandomResizedCrop(**values.random_resized_crop) if values.random_resized_crop else None

    @property
    def held_out(self) -> str:
        """The column of the log that `_validate` is for."""
        return f"validation_{self.task.score}"

    # ------------------------------------------------------------------------------------- the run
    def run(self) -> dict[str, Any]:
        state = self._resume()
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.train()
        self.student = self._student()
        with Watch(self.model, self.recipe.attention.layers) as self.watch:
            self._train(state)
        binarize_weights(self.model)
        progressive(self.model, 1.0)
        if not self.recipe.epochs:
            self.row = {"step": 0, "epoch": 0, "train_accuracy": None, self.held_out: self._validate()}
        if self.curves is not None:
            self.curves.finalize("success")
        self.model.eval().cpu()
        return self.row

    def _train(self, state: dict[str, Any] | None) -> None:
        """All epochs that are left."""
        if self.log is not None and (self.at.epoch < self.recipe.epochs or not self.recipe.epochs):
            atomic.write(self.log.path.with_name("recipe.toml"), self.recipe.toml().encode())
            self.log.begin(self.at.step, self.at.epoch + 1)
        for part in parts(self.recipe):
            if self.at.epoch >= part.last:
                continue
            self.optimizer = make_optimizer(self.model, part.optimizer)
            self.wrapped: Any = self.fabric.setup_optimizers(self.optimizer)
            if state is not None and (self.at.epoch > part.first or self.at.batch):
                self.optimizer.load_state_dict(state["optimizer"])
            state = None
            (binarize_weights if part.binary_weights else keep_weights_float)(self.model)
            while self.at.epoch < part.last:
                self._epoch(part)

    def _student(self) -> nn.Module:
        """The callable that runs the student forward in training: the only one."""
        if self.fabric.device.type == "cpu":
            # A rewritten form does not call the layers that are watched.
            return self.fabric.setup_module(self.model if self.recipe.attention.weight else fuse(self.model))
        if self.recipe.sync_batch_norm and self.fabric.world_size > 1:
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        return self.fabric.setup_module(self.model)

    def _epoch(self, part: Part) -> None:
        finished = (self.at.epoch - part.first) / part.epochs
        self._tell(finished, "epoch")
        first, before, rate = self.at.batch, self.at.seconds, 0.0
        last = saved = time.perf_counter()
        for batch in self.batches.epoch(self.at.epoch, first):
            self._step(part, batch, finished)
            now = time.perf_counter()
            self.at.seconds += now - last
            last = now
            rate = (self.at.batch - first) * self.recipe.batch / (self.at.seconds - before)
            if self.progress is not None:
                share = self.at.step / (len(self.batches) * self.recipe.epochs)
                self.progress(Progress(share, self.at.epoch + 1, self.last_loss, rate))
            if self.at.batch < len(self.batches) and self._is_time(saved):
                self._save()
                saved = time.perf_counter()
        self._close_epoch(rate)
        self._save()

    def _step(self, part: Part, batch: Batch, finished: float) -> None:
        at, recipe, fabric = self.at, self.recipe, self.fabric
        in_part = (at.epoch - part.first + at.batch / len(self.batches)) / part.epochs
        self._tell(in_part, "step")
        rate = factor(recipe.schedule, in_part if recipe.schedule.every == "step" else finished)
        set_learning_rate(self.optimizer, rate)
        targets = self._targets(batch, finished)
        seed_device(fabric.device, derive("model", recipe.seed, at.epoch, at.batch, fabric.global_rank))  # of dropout
        outputs = self.student(batch.images)
        loss = self.task.loss(outputs, batch.labels, targets) + self._attention() + self._penalty(in_part)
        self.wrapped.zero_grad(set_to_none=True)
        fabric.backward(loss)
        norm: Tensor | None = None
        if recipe.clip_gradient:
            norm = fabric.clip_gradients(
                self.student, self.wrapped, max_norm=recipe.clip_gradient, error_if_nonfinite=False
            )
        self.last_loss = float(loss.detach())
        if not math.isfinite(self.last_loss) or (norm is not None and not math.isfinite(float(norm))):
            self._fail(batch, targets)
        self.wrapped.step()
        self.task.count(self.metric, outputs, batch.labels)
        at.loss += self.last_loss * len(batch.labels)
        at.images += len(batch.labels)
        at.step += 1
        at.batch += 1
        if self.curves is not None and at.step % CURVE_STEPS == 0:
            self.curves.log_metrics({"batch_loss": self.last_loss}, at.step)

    def _attention(self) -> Tensor | float:
        """How far the student looks elsewhere than its teacher on the batch that both have just seen."""
        if not self.recipe.attention.weight:
            return 0.0
        assert isinstance(self.teachers, Teachers)
        return self.recipe.attention.weight * attention_matching(self.watch.take(), self.teachers.maps())

    def _penalty(self, in_part: float) -> Tensor | float:
        """What the weights themselves cost."""
        values, l1 = self.recipe.rate, self.recipe.prune.l1
        total: Tensor | float = 0.0
        if values.step and values.weight:
            if self.at.step % values.count_steps == 0:
                count_levels(self.model)
            bits = rate(self.model)
            assert bits is not None
            weight = values.weight * min(1.0, in_part / values.rise if values.rise else 1.0)
            if values.target:
                weight *= min(1000.0, (float(bits.detach()) / 8 / values.target) ** 8)
            total = weight * bits
        if l1:
            total = total + l1 * magnitudes(self.model)
        return total

    def _again(self, images: Tensor) -> Any:
        """Outputs of the model itself, in the precision of the run."""
        with self.fabric.autocast():
            return self.model(images.to(next(self.model.parameters()).dtype))

    def _targets(self, batch: Batch, finished: float) -> list[Tensor]:
        """What the teachers say of the batch."""
        if isinstance(self.teachers, CachedTeachers):
            return self.teachers(batch.images, finished, batch.indices, batch.view)
        return [] if self.teachers is None else self.teachers(batch.images, finished)

    def _tell(self, finished: float, when: str) -> None:
        """The only place where what sharpens over time hears how far training is."""
        if self.recipe.progressive == when:
            progressive(self.model, finished)

    def _fail(self, batch: Batch, targets: list[Tensor]) -> None:
        self.wrapped.zero_grad(set_to_none=True)
        where = first_fault(self.model, lambda: self.task.loss(self._again(batch.images), batch.labels, targets))
        raise Error(
            f"step {self.at.step + 1} (epoch {self.at.epoch + 1}, batch {self.at.batch + 1}) has the loss "
            f"{self.last_loss:g}: {where} that is not finite\n{REMEDY}"
        )

    # ------------------------------------------------------------------------------------- after an epoch
    def _close_epoch(self, rate: float) -> None:
        at = self.at
        loss, images = self._summed()
        self.row = {
            "step": at.step,
            "epoch": at.epoch + 1,
            "loss": round(loss / images, 6),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_accuracy": round(100 * float(self.metric.compute()), 3),
            self.held_out: self._validate(),
            "images_per_second": round(rate, 1),
            "seconds": round(at.seconds, 1),
        }
        at.epoch, at.batch, at.loss, at.images = at.epoch + 1, 0, 0.0, 0
        self.metric.reset()
        if self.log is not None:
            self.log.add(self.row)
        if self.curves is not None:
            self.curves.log_metrics({name: value for name, value in self.row.items() if value is not None}, at.step)
        if self.report is not None:
            self.report(self.row)

    def _summed(self) -> tuple[float, int]:
        """Loss and images of the epoch so far, over all processes."""
        sums = torch.tensor([self.at.loss, self.at.images], dtype=torch.float64, device=self.fabric.device)
        loss, images = self.fabric.all_reduce(sums, reduce_op="sum").tolist()  # type: ignore[union-attr]
        return loss, int(images)

    @torch.inference_mode()
    def _validate(self) -> float | None:
        """The task's score of the held-out images in per cent, over all processes."""
        if self.validation is None:
            return None
        self._average_statistics()
        self.model.eval()  # itself: a rewritten form of it may hold on to what was so in training
        metric = self.task.held_out().to(self.fabric.device)
        own = np.arange(self.fabric.global_rank, len(self.validation), self.fabric.world_size)
        places = [own[i : i + EVALUATION_BATCH] for i in range(0, len(own), EVALUATION_BATCH)]
        for images, labels in Loader(self.validation, places):
            x = self.augment.plain(torch.from_numpy(images).to(self.fabric.device))
            outputs = self._again(x.contiguous(memory_format=torch.channels_last))
            metric.update(outputs, label_tensor(labels).to(self.fabric.device))
        self.model.train()
        return round(100 * float(metric.compute()), 3)

    def _average_statistics(self) -> None:
        """Running statistics become the mean over all processes, each of which has seen its own part of the batches."""
        if self.fabric.world_size == 1:
            return
        for buffer in self.model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(self.fabric.all_reduce(buffer, reduce_op="mean"))  # type: ignore[arg-type]

    # ------------------------------------------------------------------------------------- checkpoints
    def _is_time(self, saved: float) -> bool:
        if self.output is None:
            return False
        if self.output.checkpoint_steps and self.at.step % self.output.checkpoint_steps == 0:
            return True
        late = 0 < self.output.checkpoint_minutes * 60 < time.perf_counter() - saved
        if self.fabric.world_size > 1:
            return self.at.step % CLOCK_STEPS == 0 and bool(self.fabric.broadcast(late))
        return late

    def _save(self) -> None:
        if self.output is None:
            return
        self._average_statistics()
        weights = self.model.state_dict()
        bad = next((name for name, value in weights.items() if not bool(torch.isfinite(value).all())), None)
        if bad is not None:
            raise Error(f"after step {self.at.step} the weight {bad} is not finite\n{REMEDY}")
        with self.metric.sync_context(should_sync=self.fabric.world_size > 1):
            counts = {name: value.cpu() for name, value in self.metric.state_dict().items()}
        loss, images = self._summed()
        if self.fabric.is_global_zero:
            state = {
                "recipe": self.recipe.toml(),
                "images": len(self.data),
                "position": {**asdict(self.at), "loss": loss, "images": images},
                "accuracy": counts,
                "row": self.row,
                "model": weights,
                "optimizer": self.optimizer.state_dict(),
            }
            checkpoint.save(self.output.folder / "checkpoint.pt", state)
        self.fabric.barrier()

    def _resume(self) -> dict[str, Any] | None:
        """Load the checkpoint, if there is one; the optimizer's part is for the stage that it belongs to."""
        if self.output is None or not (self.output.folder / "checkpoint.pt").exists():
            return None
        path = self.output.folder / "checkpoint.pt"
        state = checkpoint.load(path)
        difference = differs(parse(state["recipe"], str(path)), self.recipe)
        if difference:
            raise Error(
                f"{self.output.folder} holds a run of another recipe ({difference})\n"
                "choose another --out, or give the same recipe, --set and --epochs to go on with that run"
            )
        if state["images"] != len(self.data):
            raise Error(
                f"{path} was trained on {state['images']} images, {self.data.name} now gives {len(self.data)}\n"
                "give the same --data, or choose another --out"
            )
        self.model.load_state_dict(state["model"])
        self.at = Position(**state["position"])
        self.row = state["row"]
        if self.fabric.is_global_zero:
            self.metric.load_state_dict(state["accuracy"])
            self.metric.to(self.fabric.device)
        else:
            self.at.loss, self.at.images = 0.0, 0  # the first process holds all sums
        return state
