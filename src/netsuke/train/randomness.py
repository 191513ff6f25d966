"""Random numbers as a function of where training is, so that any batch can be made again on its own."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def derive(*place: int | str) -> int:
    """63 bits out of these numbers and words, the same everywhere."""
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, epoch: int, batch: int, rank: int) -> torch.Generator:
    """The CPU generator of one process's part of one batch. batch: its index in the epoch."""
    return torch.Generator().manual_seed(derive("batch", seed, epoch, batch, rank))


def order(seed: int, epoch: int, n: int) -> Tensor:
    """The order of the n images in an epoch: int64 (n,). Batch b of G images is order[b * G : (b + 1) * G]."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(derive("order", seed, epoch)))


def seed_device(device: torch.device, seed: int) -> None:
    """Seed torch's own generators of the CPU and of `device`, which dropout draws from.

    torch.manual_seed would do, but where a GPU has not been used it keeps each call, with its stack, for later.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
