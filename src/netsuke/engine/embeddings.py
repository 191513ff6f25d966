"""Looking up rows of binary embedding tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from netsuke.artifact import Table, decode_tables, read_tables
from netsuke.artifact.contract import Error
from netsuke.artifact.embeddings import bags

from .engine import _native


def load_embeddings(path: str | Path | bytes, isa: str | None = None) -> dict[str, EmbeddingTable]:
    """Load the embedding tables of a `.netsuke` file (or its bytes), by name.

    Args:
        path: the file, or its whole content.
        isa: as in `netsuke.load`; or "numpy", which needs no compiled engine, and is taken where there is none.

    Raises:
        Error: the file is missing, damaged, or holds a network; the machine lacks the instruction set.
    """
    if not isinstance(path, (str, os.PathLike, bytes)):
        raise Error(f"load_embeddings takes the path of a .netsuke file, or its bytes, not a {type(path).__name__}")
    _, tables = decode_tables(path) if isinstance(path, bytes) else read_tables(path)
    return {table.name: EmbeddingTable(table, isa) for table in tables}


class EmbeddingTable:
    """A loaded table of rows of signs with a scale each. Call it with indices, as torch.nn.EmbeddingBag.

    Attributes:
        num_embeddings, embedding_dim: its rows and columns.
        mode: "sum" or "mean".
        padding_idx: the row that counts for nothing, or None.
        isa: the instruction set that runs, or "numpy".
    """

    def __init__(self, table: Table, isa: str | None = None) -> None:
        self.num_embeddings, self.embedding_dim = len(table.rows), table.columns
        self.mode, self.padding_idx = table.mode, table.padding
        if isa == "numpy" or (isa is None and _native is None):
            self.isa, self._look_up = "numpy", table.look_up
            return
        if _native is None:
            raise Error("no engine was compiled: give isa='numpy', or reinstall netsuke where a C++ compiler is")
        padding = -1 if table.padding is None else table.padding
        native = _native.EmbeddingTable(table.rows, table.columns, padding, table.mode == "mean", isa or "")
        self.isa, self._look_up = native.isa, native.look_up

    def __call__(
        self, indices: Any, offsets: Any = None, per_sample_weights: Any = None, include_last_offset: bool = False
    ) -> np.ndarray:
        """The sum or mean of each bag of rows; an empty bag gives zeros.

        Args:
            indices: (bags, n), or (n,) with offsets; whole numbers.
            offsets: (bags,): where in `indices` each bag begins; the first is 0.
            per_sample_weights: of the shape of `indices`: a factor for each row, where the mode is "sum".
            include_last_offset: `offsets` has one number more, where the last bag ends: the number of indices.

        Returns:
            float32 (bags, embedding_dim): the same bits on every instruction set and in numpy.

        Raises:
            Error: an index is no row of the table, or the arguments are of other shapes or types.
        """
        return self._look_up(*bags(indices, offsets, per_sample_weights, self.mode, include_last_offset))
