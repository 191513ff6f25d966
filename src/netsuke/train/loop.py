"""A plain training loop over images held in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from netsuke.nn import progressive
from netsuke.train.losses import distillation


@dataclass(frozen=True)
class Recipe:
    """AdamW with a cosine schedule from learning_rate to 0, stepped each batch. seed: of the order of the images."""

    epochs: int
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    seed: int = 0


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    teacher: nn.Module | None = None,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Train `model` in place and leave it in eval mode.

    images: float32 (N, C, H, W), normalised. labels: int64 (N,). teacher: an eval-mode network with the same classes;
    with one the loss is `distillation` alone, else the cross entropy with the labels. Binarizers sharpen by the epoch
    (`nn.progressive`). progress: called after each batch with the finished share, 0 to 1.
    """
    optimiser = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * -(-len(images) // recipe.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    order = torch.Generator().manual_seed(recipe.seed)
    step = 0
    model.train()
    for epoch in range(recipe.epochs):
        progressive(model, epoch / recipe.epochs)
        for chosen in torch.randperm(len(images), generator=order).split(recipe.batch):
            inputs = images[chosen]
            logits = model(inputs)
            if teacher is None:
                loss = cross_entropy(logits, labels[chosen])
            else:
                with torch.no_grad():
                    target = teacher(inputs)
                loss = distillation(logits, target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
            if progress is not None:
                progress(step / steps)
    progressive(model, 1.0)
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch: int = 256) -> float:
    """Per cent of the images (float32 (N, C, H, W)) whose largest logit is their label's. `model` is in eval mode."""
    right = sum(
        int((model(x).argmax(1) == y).sum()) for x, y in zip(images.split(batch), labels.split(batch), strict=True)
    )
    return 100 * right / len(images)
