"""What studies of many trainings share: results on the disk, shares of the work, accuracy, means."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from netsuke import Error, Preprocess, atomic
from netsuke.data import Dataset, normalise


def result_of(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a finished run, None where there is none. Raises netsuke.Error where it has other settings."""
    path = folder / "result.json"
    if not path.exists():
        return None
    result = json.loads(path.read_text())
    if result["study"] != json.loads(json.dumps(settings)):
        raise Error(f"{path} is of a study with other settings: choose another --out, or give the same settings")
    return result


def run_missing(runs: Sequence[tuple[Path, str, Callable[[], dict[str, Any]]]], settings: dict[str, Any]) -> None:
    """Do every run that has no result yet, and keep its result. runs: (folder, what it is in words, how)."""
    for folder, what, do in runs:
        if result_of(folder, settings) is not None:
            continue
        print(what, file=sys.stderr, flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        result = {**do(), "study": settings}
        atomic.write(folder / "result.json", (json.dumps(result, indent=1) + "\n").encode())


@torch.inference_mode()
def measure(model: nn.Module, data: Dataset, preprocess: Preprocess) -> dict[str, float]:
    """Accuracy in per cent, and the cross entropy with the labels in nats an image."""
    right = loss = 0.0
    for images, labels in data.batches(250):
        logits, target = model(torch.from_numpy(normalise(images, preprocess))), torch.from_numpy(labels)
        right += float((logits.argmax(1) == target).sum())
        loss += float(cross_entropy(logits, target, reduction="sum"))
    return {"top1": round(100 * right / len(data), 3), "cross_entropy": round(loss / len(data), 5)}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and sample standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": round(statistics.fmean(values), 4), "deviation": round(deviation, 4)}


def share_of(text: str) -> tuple[int, int]:
    """`1/2` -> (1, 2). Raises netsuke.Error for what is no share."""
    share, slash, of = text.partition("/")
    if not (slash and share.isdecimal() and of.isdecimal() and 1 <= int(share) <= int(of)):
        raise Error(f"--share {text}: write it as in 1/2, the first of two halves")
    return int(share), int(of)


def add_arguments(parser: argparse.ArgumentParser, threads: int) -> None:
    """The options that every study has."""
    parser.add_argument("--data", required=True, help="SPEC, as in cifar10:PATH")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and results")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", default="bfloat16", help="of students and teachers: float32 or bfloat16")
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--share", default="1/1")
    parser.add_argument("--page", type=Path, help="write the outcome as Markdown")


def conclude(
    found: dict[str, Any] | None, page: Callable[[dict[str, Any]], str], out: Path, written: Path | None
) -> None:
    """Keep and print the outcome of a study, or say that runs are missing. written: where the page goes too."""
    if found is None:
        print("the other share has runs to do", file=sys.stderr)
        return
    atomic.write(out / "results.json", (json.dumps(found, indent=1) + "\n").encode())
    if written:
        atomic.write(written, page(found).encode())
    print(page(found))


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first row is the head."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def first_images(data: Dataset, count: int) -> np.ndarray:
    """Indices of the first `count` images, all for 0."""
    return np.arange(min(count, len(data)) if count else len(data))
