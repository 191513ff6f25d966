"""What a run computes on: devices and processes, by way of Lightning Fabric."""

from __future__ import annotations

import os

import torch
from lightning_fabric import Fabric

from netsuke.artifact.contract import Error

PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float64": "64-true"}


def make_fabric(device: str = "auto", precision: str = "float32") -> Fabric:
    """Fabric for one process, or, under torchrun, for all that it started: DistributedDataParallel over nccl on GPUs
    and over gloo on CPUs.

    device: "auto" (a GPU where there is one), "cpu" or "cuda". precision: as in a recipe. Raises netsuke.Error where
    there is no such device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise Error("--device cuda: PyTorch sees no GPU here; use --device cpu, or a PyTorch built for CUDA")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
        raise Error(f"WORLD_SIZE asks for {processes} processes, which nobody has joined: start it with torchrun")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if processes > 1 else 1
    if processes > 1:
        from lightning_fabric.strategies import DDPStrategy

        # Buffers are batch norm's running statistics: averaged when they are read (`loop`), not sent at every step.
        strategy: DDPStrategy | str = DDPStrategy(forward_sync_buffers=False)
    else:
        strategy = "auto"
    fabric = Fabric(
        accelerator=device,
        devices=here,
        num_nodes=processes // here,
        strategy=strategy,
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric
