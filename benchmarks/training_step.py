"""How much faster is our training step than a plain implementation of AdaBin's layer, as its authors released it?

Both train ResNet-20 on the same random batch with SGD: the plain network of published_adabin.py in float32, as
released, and ours as `netsuke train` runs it (fused, channels last, bfloat16), beside ours in float32 and the float
ResNet-20. They take turns in one process; the figures are medians.

    python benchmarks/training_step.py [--threads 2] [--batch 128] [--steps 15] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from netsuke.cli.machine import cores_for, cpu_name
from netsuke.models import create_model
from netsuke.nn import fuse

sys.path.insert(0, str(Path(__file__).resolve().parent))
from published_adabin import plain

WARM_UP = 3


def step(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, low: bool = False, fused: bool = True
) -> Callable[[], None]:
    """One step of training on this batch. low: bfloat16 maps. fused: PyTorch's fused SGD, as `netsuke train` has it."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4, fused=fused)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            logits = model(images)
        loss = cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return run


def measure(threads: int, batch: int, steps: int) -> dict[str, Any]:
    """Medians in seconds, by candidate."""
    torch.set_num_threads(threads)
    draw = torch.Generator().manual_seed(0)
    images = torch.randn((batch, 3, 32, 32), generator=draw)
    labels = torch.randint(0, 10, (batch,), generator=draw)
    last = images.contiguous(memory_format=torch.channels_last)

    def ours(name: str) -> nn.Module:
        return fuse(create_model(name).to(memory_format=torch.channels_last))  # type: ignore[call-overload]

    candidates = {
        "published": step(plain(create_model("adabin_resnet20")), images, labels, fused=False),
        "netsuke_bfloat16": step(ours("adabin_resnet20"), last, labels, low=True),
        "netsuke_float32": step(ours("adabin_resnet20"), last, labels),
        "float_resnet20_bfloat16": step(ours("resnet20"), last, labels, low=True),
    }
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(WARM_UP + steps):
        for name, run in candidates.items():
            begun = time.perf_counter()
            run()
            if turn >= WARM_UP:
                taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--batch", type=int, default=128)
    options.add_argument("--steps", type=int, default=15, help="timed ones of each")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    os.sched_setaffinity(0, cores_for(chosen.threads))
    medians = measure(chosen.threads, chosen.batch, chosen.steps)
    result = {
        "machine": cpu_name(),
        "threads": chosen.threads,
        "batch": chosen.batch,
        "candidates": {
            name: {"median_ms": 1e3 * seconds, "images_per_second": chosen.batch / seconds}
            for name, seconds in medians.items()
        },
        "ratio": {name: medians["published"] / seconds for name, seconds in medians.items()},
    }
    if chosen.json:
        print(json.dumps(result))
        return
    print(f"AdaBin ResNet-20, batch {chosen.batch}, {chosen.threads} threads, {result['machine']}")
    for name, entry in result["candidates"].items():
        print(
            f"{name:24} {entry['median_ms']:8.1f} ms  {entry['images_per_second']:7.0f} images/s  "
            f"{result['ratio'][name]:.2f}x published"
        )


if __name__ == "__main__":
    main()
