"""DLRM, the deep learning recommendation model (Naumov et al. 2019), with float or with one-bit tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error
from netsuke.nn import BinaryEmbeddingBag


class DLRM(nn.Module):
    """Dense features through a bottom MLP, sparse ones through embedding bags, their dot products through a top MLP.

    With x the bottom MLP's result and e_1 ... e_k what the bags make, all of `embedding_dim` numbers, the top MLP sees
    x and the dot products of each pair of x, e_1, ..., e_k (section 2.1.5). ReLU follows every layer but the last.

    dense (N, dense_features), sparse: a pair (indices, offsets) for each table, as torch.nn.EmbeddingBag takes them
    -> logits (N,), for a binary cross-entropy.
    """

    def __init__(
        self,
        dense_features: int,
        table_rows: Sequence[int],
        embedding_dim: int,
        bottom: Sequence[int],
        top: Sequence[int],
        mode: str,
        binary: bool,
        sparse: bool,
    ) -> None:
        super().__init__()
        bag = BinaryEmbeddingBag if binary else nn.EmbeddingBag
        tables = [bag(rows, embedding_dim, mode=mode, sparse=sparse) for rows in table_rows]
        for table in tables:  # as the published code starts them
            nn.init.uniform_(table.weight, -(table.num_embeddings**-0.5), table.num_embeddings**-0.5)
        self.tables = nn.ModuleList(tables)
        self.bottom = _perceptron([dense_features, *bottom, embedding_dim])
        vectors = len(self.tables) + 1
        self.top = _perceptron([embedding_dim + vectors * (vectors - 1) // 2, *top, 1])[:-1]
        self.register_buffer("pairs", torch.tril_indices(vectors, vectors, -1), persistent=False)

    pairs: Tensor

    def forward(self, dense: Tensor, sparse: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        if len(sparse) != len(self.tables):
            raise Error(f"there are {len(self.tables)} tables and {len(sparse)} pairs of indices and offsets")
        x = self.bottom(dense)
        bags = [table(indices, offsets) for table, (indices, offsets) in zip(self.tables, sparse, strict=True)]
        vectors = torch.stack([x, *bags], 1)
        products = (vectors @ vectors.mT)[:, self.pairs[0], self.pairs[1]]
        return self.top(torch.cat([x, products], 1)).squeeze(1)


def dlrm(
    dense_features: int,
    table_rows: Sequence[int],
    embedding_dim: int = 64,
    bottom: Sequence[int] = (512, 256),
    top: Sequence[int] = (512, 256),
    mode: str = "sum",
    binary: bool = False,
    sparse: bool = False,
) -> DLRM:
    """A DLRM with random weights. binary: tables of one bit a number (`netsuke.nn.BinaryEmbeddingBag`).

    table_rows: the rows of each table. bottom, top: widths of the hidden layers. sparse: as of EmbeddingBag.
    """
    return DLRM(dense_features, table_rows, embedding_dim, bottom, top, mode, binary, sparse)


def _perceptron(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers)
