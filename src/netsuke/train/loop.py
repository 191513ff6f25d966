"""The training loop: a recipe, a model and a data set; on Lightning Fabric."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from netsuke.artifact.contract import Error
from netsuke.data import Dataset
from netsuke.nn import binarize_weights, fuse, keep_weights_float, progressive
from netsuke.train import checkpoint
from netsuke.train.augment import Augment
from netsuke.train.faults import first_fault
from netsuke.train.log import Log
from netsuke.train.losses import Objective
from netsuke.train.machine import make_fabric
from netsuke.train.optimizers import make_optimizer, set_learning_rate
from netsuke.train.randomness import derive, generator, order
from netsuke.train.recipe import Recipe, differs, parse
from netsuke.train.schedule import factor
from netsuke.train.stages import Part, parts
from netsuke.train.teachers import Teachers

EVALUATION_BATCH = 256
REMEDY = "try a lower optimizer.learning_rate, a warmup, or clip_gradient; the last checkpoint is from before it"


@dataclass(frozen=True)
class Saving:
    """When a checkpoint is written beside the one after each epoch: after so many minutes, and every so many steps.

    0 for never.
    """

    minutes: float = 5.0
    steps: int = 0


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
    """What a progress bar shows. share: of the run, 0 to 1. epoch: counted from 1. loss: of the last batch."""

    share: float
    epoch: int
    loss: float
    images_per_second: float


def fit(
    model: nn.Module,
    recipe: Recipe,
    data: Dataset,
    augment: Augment,
    validation: Dataset | None = None,
    teachers: Teachers | None = None,
    out: Path | None = None,
    saving: Saving | None = None,
    fabric: Fabric | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Train `model` in place by `recipe` and leave it in eval mode, on the CPU. Returns the last row of the log.

    Of the recipe, everything but `model`, `teacher`, `augment` and `validation` is used, which are given as objects.
    Batches are `recipe.batch` images; images that do not fill the last one of an epoch wait for another epoch.

    out: folder of checkpoint.pt and log.csv; a run that was cut off goes on from there, with weights that are bit for
    bit those of a run that was not (on one CPU with one number of threads). Without it nothing is written. fabric:
    where it runs, `netsuke.train.make_fabric()` when not given. progress: called after each step.

    Raises netsuke.Error where the data are too few for a batch, a checkpoint is damaged or of another run, the disk is
    full, or a number stops being finite: it names the step and the layer.
    """
    loop = _Loop(model, recipe, data, augment, validation, teachers, out, saving or Saving(), fabric, progress)
    return loop.run()


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch: int = EVALUATION_BATCH) -> float:
    """Per cent of the images (float32 (N, C, H, W)) whose largest logit is their label's. `model` is in eval mode."""
    right = sum(
        int((model(x).argmax(1) == y).sum()) for x, y in zip(images.split(batch), labels.split(batch), strict=True)
    )
    return 100 * right / len(images)


class _Loop:
    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        data: Dataset,
        augment: Augment,
        validation: Dataset | None,
        teachers: Teachers | None,
        out: Path | None,
        saving: Saving,
        fabric: Fabric | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.model, self.recipe, self.data, self.augment = model, recipe, data, augment
        self.validation, self.teachers, self.out, self.saving = validation, teachers, out, saving
        self.fabric = fabric if fabric is not None else make_fabric(precision=recipe.precision)
        self.progress = progress
        self.batches = len(data) // recipe.batch
        if self.batches == 0:
            raise Error(
                f"{data.name} holds {len(data)} images, fewer than one batch of {recipe.batch}: set batch lower"
            )
        if recipe.batch % self.fabric.world_size:
            raise Error(f"a batch of {recipe.batch} cannot be shared by {self.fabric.world_size} processes equally")
        self.objective = Objective(
            recipe.loss.kind,
            recipe.loss.label_weight,
            recipe.loss.label_smoothing,
            recipe.loss.temperature,
            recipe.loss.form,
        )
        self.metric = MulticlassAccuracy(data.num_classes, average="micro", validate_args=False)
        self.metric.persistent(True)
        self.at = Position()
        self.row: dict[str, Any] = {}
        self.log = Log(out / "log.csv") if out is not None and self.fabric.is_global_zero else None

    # ------------------------------------------------------------------------------------- the run
    def run(self) -> dict[str, Any]:
        state = self._resume()
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.train()
        self.student = self._student()
        self.metric.to(self.fabric.device)
        if self.log is not None and self.at.epoch < self.recipe.epochs:
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
        binarize_weights(self.model)
        progressive(self.model, 1.0)
        self.model.eval().cpu()
        return self.row

    def _student(self) -> nn.Module:
        """The callable that runs the student forward in training: the only one."""
        on_cpu = self.fabric.device.type == "cpu"
        return self.fabric.setup_module(fuse(self.model) if on_cpu else self.model)

    def _epoch(self, part: Part) -> None:
        chosen = order(self.recipe.seed, self.at.epoch, len(self.data)).numpy()
        finished = (self.at.epoch - part.first) / part.epochs
        self._tell(finished, "epoch")
        begun, done = time.perf_counter(), self.at.batch
        self.since = begun
        saved = begun
        while self.at.batch < self.batches:
            self._step(part, chosen, finished)
            now = time.perf_counter()
            self.at.seconds += now - self.since
            self.since = now
            rate = (self.at.batch - done) * self.recipe.batch / (now - begun)
            if self.progress is not None:
                share = self.at.step / (self.batches * self.recipe.epochs)
                self.progress(Progress(share, self.at.epoch + 1, self.last_loss, rate))
            if self.at.batch < self.batches and self._is_time(saved):
                self._save()
                saved = time.perf_counter()
        self._close_epoch(rate)
        self._save()

    def _step(self, part: Part, chosen: np.ndarray, finished: float) -> None:
        at, recipe, fabric = self.at, self.recipe, self.fabric
        in_part = (at.epoch - part.first + at.batch / self.batches) / part.epochs
        self._tell(in_part, "step")
        rate = factor(recipe.schedule, in_part if recipe.schedule.every == "step" else finished)
        set_learning_rate(self.optimizer, rate)
        images, labels = self._batch(chosen)
        targets = self.teachers(images, finished) if self.teachers is not None else []
        torch.manual_seed(derive("model", recipe.seed, at.epoch, at.batch, fabric.global_rank))  # of dropout
        logits = self.student(images)
        loss = self.objective(logits, labels, targets)
        self.wrapped.zero_grad(set_to_none=True)
        fabric.backward(loss)
        norm: Tensor | None = None
        if recipe.clip_gradient:
            norm = fabric.clip_gradients(
                self.student, self.wrapped, max_norm=recipe.clip_gradient, error_if_nonfinite=False
            )
        self.last_loss = float(loss.detach())
        if not math.isfinite(self.last_loss) or (norm is not None and not math.isfinite(float(norm))):
            self._fail(images, labels, targets)
        self.wrapped.step()
        self.metric.update(logits.detach(), labels)
        at.loss += self.last_loss * len(labels)
        at.images += len(labels)
        at.step += 1
        at.batch += 1

    def _batch(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """This process's part of the batch. The random numbers are the whole batch's, whoever has which part."""
        at, size = self.at, self.recipe.batch
        own = size // self.fabric.world_size
        mine = slice(self.fabric.global_rank * own, (self.fabric.global_rank + 1) * own)
        images, labels = self.data.read(chosen[at.batch * size : (at.batch + 1) * size][mine])
        draws = self.augment.draw(size, generator(self.recipe.seed, at.epoch, at.batch, 0))[mine]
        x = self.augment.apply(torch.from_numpy(images).to(self.fabric.device), draws)
        x = x.contiguous(memory_format=torch.channels_last)
        return x, torch.from_numpy(labels).to(self.fabric.device)

    def _tell(self, finished: float, when: str) -> None:
        """The only place where what sharpens over time hears how far training is."""
        if self.recipe.progressive == when:
            progressive(self.model, finished)

    def _fail(self, images: Tensor, labels: Tensor, targets: list[Tensor]) -> None:
        def again() -> Tensor:
            with self.fabric.autocast():
                return self.objective(self.model(images), labels, targets)

        self.wrapped.zero_grad(set_to_none=True)
        where = first_fault(self.model, again)
        raise Error(
            f"step {self.at.step + 1} (epoch {self.at.epoch + 1}, batch {self.at.batch + 1}) has the loss "
            f"{self.last_loss:g}: {where} that is not finite\n{REMEDY}"
        )

    # ------------------------------------------------------------------------------------- after an epoch
    def _close_epoch(self, rate: float) -> None:
        at = self.at
        sums = torch.tensor([at.loss, at.images], dtype=torch.float64, device=self.fabric.device)
        loss, images = self.fabric.all_reduce(sums, reduce_op="sum").tolist()  # type: ignore[union-attr]
        self.row = {
            "step": at.step,
            "epoch": at.epoch + 1,
            "loss": round(loss / images, 6),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_accuracy": round(100 * float(self.metric.compute()), 3),
            "validation_accuracy": self._validate(),
            "images_per_second": round(rate, 1),
            "seconds": round(at.seconds, 1),
        }
        at.epoch, at.batch, at.loss, at.images = at.epoch + 1, 0, 0.0, 0
        self.metric.reset()
        if self.log is not None:
            self.log.add(self.row)

    @torch.inference_mode()
    def _validate(self) -> float | None:
        """Per cent of the held-out images that are right, over all processes."""
        if self.validation is None:
            return None
        self._average_statistics()
        self.model.eval()
        metric = MulticlassAccuracy(self.data.num_classes, average="micro", validate_args=False).to(self.fabric.device)
        own = np.arange(self.fabric.global_rank, len(self.validation), self.fabric.world_size)
        for start in range(0, len(own), EVALUATION_BATCH):
            images, labels = self.validation.read(own[start : start + EVALUATION_BATCH])
            x = self.augment.plain(torch.from_numpy(images).to(self.fabric.device))
            with self.fabric.autocast():
                logits = self.model(x.contiguous(memory_format=torch.channels_last))
            metric.update(logits, torch.from_numpy(labels).to(self.fabric.device))
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
        if self.out is None:
            return False
        if self.saving.steps and self.at.step % self.saving.steps == 0:
            return True
        late = self.saving.minutes > 0 and time.perf_counter() - saved > 60 * self.saving.minutes
        if self.fabric.world_size > 1:  # one clock decides for all, now and then: a broadcast at each step would cost
            return self.at.step % 20 == 0 and bool(self.fabric.broadcast(late))
        return late

    def _save(self) -> None:
        if self.out is None:
            return
        self._average_statistics()
        bad = [name for name, value in self.model.state_dict().items() if not bool(torch.isfinite(value).all())]
        if bad:
            raise Error(f"after step {self.at.step} the weight {bad[0]} is not finite\n{REMEDY}")
        with self.metric.sync_context(should_sync=self.fabric.world_size > 1):
            correct = {name: value.cpu() for name, value in self.metric.state_dict().items()}
        sums = torch.tensor([self.at.loss, self.at.images], dtype=torch.float64, device=self.fabric.device)
        loss, images = self.fabric.all_reduce(sums, reduce_op="sum").tolist()  # type: ignore[union-attr]
        if self.fabric.is_global_zero:
            position = {**asdict(self.at), "loss": loss, "images": int(images)}
            checkpoint.save(
                self.out / "checkpoint.pt",
                {
                    "recipe": self.recipe.toml(),
                    "images": len(self.data),
                    "position": position,
                    "accuracy": correct,
                    "row": self.row,
                    "model": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                },
            )
        self.fabric.barrier()

    def _resume(self) -> dict[str, Any] | None:
        """Load the checkpoint, if there is one; the optimizer's part is for the stage that it belongs to."""
        if self.out is None or not (self.out / "checkpoint.pt").exists():
            return None
        path = self.out / "checkpoint.pt"
        state = checkpoint.load(path)
        difference = differs(parse(state["recipe"], str(path)), self.recipe)
        if difference:
            raise Error(f"{path} is of another recipe ({difference})\nchoose another --out, or remove that folder")
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
        else:
            self.at.loss, self.at.images = 0.0, 0
        return state
