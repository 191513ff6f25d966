"""`netsuke.export_embeddings`: the binary embedding tables of a module, as a file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

from netsuke.artifact.contract import Error
from netsuke.artifact.embeddings import Table, make_rows, save_tables
from netsuke.nn.embedding import BinaryEmbeddingBag
from netsuke.nn.modes import evaluating

ROWS_AT_ONCE = 1 << 16


def export_embeddings(module: nn.Module, path: str | os.PathLike[str], model: str = "model") -> Path:
    """Write the tables of every `netsuke.nn.BinaryEmbeddingBag` in `module` as one .netsuke file; return its path.

    A table has the name that the layer has in `module`; if `module` is the layer itself, "table". model: the name in
    the file. `netsuke.load_embeddings` reads it.

    Raises netsuke.Error where there is no such layer, and for a table whose rows are not plus and minus one number
    each, naming it.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, BinaryEmbeddingBag)}
    if not layers:
        raise Error(f"{type(module).__name__} has no netsuke.nn.BinaryEmbeddingBag")
    tables = []
    for name, layer in layers.items():
        with evaluating(layer), torch.no_grad():
            try:
                tables.append(_table(name or "table", layer))
            except Error as error:
                raise Error(f"the table {name!r} cannot be exported: {error}") from None
    target = Path(path)
    save_tables(model, tables, target)
    return target


def _table(name: str, layer: BinaryEmbeddingBag) -> Table:
    parts = []
    for rows in torch.arange(layer.num_embeddings, device=layer.weight.device).split(ROWS_AT_ONCE):
        values = layer.binarized(rows).float().cpu().numpy()
        scales = np.abs(values[:, 0])
        if not np.isfinite(values).all():
            raise Error("its scales are not finite: training has diverged")
        if (np.abs(values) != scales[:, None]).any():
            raise Error(f"its rows are not plus and minus one number each: {layer.binary_w.unfinished()}")
        parts.append(make_rows(scales, values))
    return Table(name, np.concatenate(parts), layer.embedding_dim, layer.mode, layer.padding_idx)
