"""How much faster is the engine than a plain PyTorch implementation of AdaBin's layer, as its authors released it?

The released code keeps float weights and activations throughout: on every forward it standardises and binarizes the
weights anew, evaluates the gradient estimator of the activation's sign (training or not), and calls a float
convolution. This file computes the same in its own words, puts it into ResNet-20, and races it against the engine
and against our module in PyTorch, torch_binary, whose weights are random always: only its time is of interest.

    python benchmarks/published_adabin.py --weights CHECKPOINT [--threads 1] [--seconds 3 | --runs 50] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netsuke.cli import race
from netsuke.cli.bench import RANDOM, ratios, summary
from netsuke.cli.checkpoint import load
from netsuke.cli.machine import cores_for, cpu_name
from netsuke.cli.worker import Prepared, serve
from netsuke.lowering.export import export
from netsuke.nn import BinaryConv2d, Maxout

MODEL = "adabin_resnet20"
PUBLISHED = "published_layer"


class PublishedConv2d(nn.Conv2d):
    """AdaBin's convolution in float arithmetic: (N, C, H, W) -> (N, O, H', W')."""

    def __init__(self, layer: BinaryConv2d) -> None:
        super().__init__(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, bias=False
        )
        self.weight = layer.weight
        self.alpha_a, self.beta_a = layer.binary_a.alpha_a, layer.binary_a.beta_a
        self.k, self.t = torch.tensor([10.0]), torch.tensor([0.1])

    def forward(self, x: Tensor) -> Tensor:
        filters, size = self.weight, self.weight[0].numel()
        center = filters.mean((1, 2, 3)).view(-1, 1, 1, 1)
        distance = torch.sqrt(((filters - center) ** 2).sum((1, 2, 3)) / size).view(-1, 1, 1, 1)
        binary = SignWithEde.apply((filters - center) / distance, self.k, self.t) * distance + center
        activation = self.alpha_a * (sign_with_estimator((x - self.beta_a) / self.alpha_a) + self.beta_a)
        return F.conv2d(activation, binary, None, self.stride, self.padding)


def sign_with_estimator(u: Tensor) -> Tensor:
    """sign(u), whose gradient is the piecewise quadratic's: both are computed, and the quadratic cancels itself.

    The quadratic's pieces are put together by multiplying with 0 and 1, as the released code does.
    """
    inner = blend(u < -1, -1, u * u + 2 * u)
    inner = blend(u < 0, inner, -u * u + 2 * u)
    inner = blend(u < 1, inner, 1)
    return torch.sign(u).detach() - inner.detach() + inner


def blend(where: Tensor, inside: Tensor | int, outside: Tensor | int) -> Tensor:
    """The mask becomes a float twice, as in the released code."""
    return inside * where.to(torch.float32) + outside * (1 - where.to(torch.float32))


class SignWithEde(torch.autograd.Function):
    """sign(w) with IR-Net's estimator; like the released one it keeps what a backward would need."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, k: Tensor, t: Tensor) -> Tensor:
        ctx.save_for_backward(w, k, t)
        return torch.sign(w)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        w, k, t = ctx.saved_tensors
        return grads[0] * k * t * (1 - torch.tanh(w * t) ** 2), None, None


class PublishedMaxout(nn.Module):
    """Two slopes a channel by two rectifiers: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, layer: Maxout) -> None:
        super().__init__()
        self.positive, self.negative = layer.pos_scale, layer.neg_scale

    def forward(self, x: Tensor) -> Tensor:
        return self.positive.view(1, -1, 1, 1) * F.relu(x) - self.negative.view(1, -1, 1, 1) * F.relu(-x)


def plain(module: nn.Module) -> nn.Module:
    """Put the plain layers in the place of ours, in `module` itself; they share its parameters."""
    for name, child in module.named_children():
        if isinstance(child, BinaryConv2d):
            setattr(module, name, PublishedConv2d(child))
        elif isinstance(child, Maxout):
            setattr(module, name, PublishedMaxout(child))
        else:
            plain(child)
    return module


def prepare(request: dict[str, Any]) -> Prepared:
    """The plain network, in the process that races it."""
    torch.set_num_threads(request["threads"])
    weights = Path(request["weights"]) if request["weights"] else None
    network = plain(load(MODEL, weights).module)
    shape = (request["batch"], *request["input"])
    images = torch.from_numpy(np.random.default_rng(0).standard_normal(shape, np.float32))

    def run() -> object:
        with torch.no_grad():
            return network(images)

    return run, {"precision": "float32", "version": torch.__version__}


def measure(weights: Path | None, threads: int, batch: int, runs: int | None, seconds: float) -> dict[str, Any]:
    """Race the engine, our module and the plain implementation; the keys are those of `netsuke bench`."""
    network = load(MODEL, weights)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / f"{MODEL}.netsuke"
        export(network.module, torch.zeros(2, *network.entry.input), file, preprocess=network.preprocess, model=MODEL)
        request: dict[str, Any] = {
            "cores": cores_for(threads), "threads": threads, "batch": batch, "input": list(network.entry.input),
            "file": str(file), "isa": None, "model": MODEL, "classes": None, "weights": weights and str(weights),
        }  # fmt: skip
        own = [sys.executable, str(Path(__file__).resolve()), "--worker"]
        with (
            race.Racer("netsuke", request | {"candidate": "netsuke"}) as engine,
            race.Racer("torch_binary", request | {"candidate": "torch_binary"}) as module,
            race.Racer(PUBLISHED, request, command=own) as published,
        ):
            taken = race.race([engine, module, published], runs, seconds)
            facts = {racer.name: racer.facts for racer in (engine, module, published)}
    given = str(weights) if weights else RANDOM
    whose = {"netsuke": given, "torch_binary": RANDOM, PUBLISHED: given}
    return {
        "machine": cpu_name(),
        "cores": request["cores"],
        "isa": facts["netsuke"]["isa"],
        "threads": threads,
        "batch": batch,
        "candidates": {name: summary(facts[name], taken[name]) | {"weights": whose[name]} for name in taken},
        "ratio": ratios(taken),
    }


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        serve(json.loads(sys.argv[2]), prepare)
        return
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--weights", type=Path, help="AdaBin's published ResNet-20 checkpoint; random without")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--batch", type=int, default=1)
    options.add_argument("--runs", type=int)
    options.add_argument("--seconds", type=float, default=3.0)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    result = measure(chosen.weights, chosen.threads, chosen.batch, chosen.runs, chosen.seconds)
    if chosen.json:
        print(json.dumps(result))
        return
    print(f"{MODEL}, batch {chosen.batch}, {chosen.threads} thread(s), {result['machine']}, {result['isa']}")
    for name, entry in result["candidates"].items():
        ratio = f"{result['ratio'][name]:.1f}x the time of netsuke" if name in result["ratio"] else ""
        print(f"{name:16} {entry['median_ms']:9.3f} ms median of {entry['runs']:6d} runs  {ratio}")


if __name__ == "__main__":
    main()
