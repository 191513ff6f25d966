"""Deep Compression's released `.net` files (Han et al. 2016): the codes, gaps and codebooks of a network's layers.

The format names neither layers nor shapes: they are the model's, in the order of its modules.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error
from netsuke.models.pieces import Pieces

GAP_BITS = 4


def read_released(path: Path, model: nn.Module) -> dict[str, Tensor]:
    """The state dict of `model` out of a `.net` file, bit for bit as the authors' decoder makes it.

    A file is one uint32 a layer, its entries; then, layer by layer, the codebook (float32: 256 numbers for a
    convolution, 16 for a linear layer), the bias (float32), the entries' codes (8 or 4 bits) and their gaps (4 bits).
    An entry lies gap + 1 places behind the one before it, in the order (O, C, kh, kw); all other places have code 0.

    Raises netsuke.Error where the file is missing, does not fit the model, or an entry lies outside its layer.
    """
    file = Pieces(path)
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    entries = file.take(len(layers), "<u4")
    tensors: dict[str, Tensor] = {}
    for (name, layer), count in zip(layers.items(), entries.tolist(), strict=True):
        size = layer.weight.numel()
        if count > size:
            raise Error(f"{path} is damaged, or of another network: {name} has {size} weights, not {count} entries")
        bits = 8 if isinstance(layer, nn.Conv2d) else 4
        codebook = file.take(1 << bits, "<f4")
        if layer.bias is not None:
            tensors[f"{name}.bias"] = torch.from_numpy(file.take(layer.bias.numel(), "<f4").astype(np.float32))
        codes = file.take(count, "u1") if bits == 8 else file.nibbles(count)
        places = np.cumsum(file.nibbles(count).astype(np.int64) + 1) - 1
        if count and places[-1] >= size:
            raise Error(f"{path} is damaged: entries of {name} lie behind its {size} weights")
        all_codes = np.zeros(size, np.uint8)
        all_codes[places] = codes
        weight = codebook[all_codes].astype(np.float32).reshape(layer.weight.shape)
        tensors[f"{name}.weight"] = torch.from_numpy(weight)
    file.done()
    return tensors
