"""Embedding tables of one bit a number and one scale a row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netsuke.artifact.contract import Error
from netsuke.nn.adabin import AdaBinWeight
from netsuke.nn.binarizer import WeightBinarizer
from netsuke.nn.bireal_weight import BiRealWeight
from netsuke.nn.ste import straight_through


class BinaryEmbeddingBag(nn.EmbeddingBag):
    """torch.nn.EmbeddingBag whose rows are binarized: row r counts as alpha_r * s_r, with s_r in {-1, +1}.

    Only the rows that a batch asks for are binarized, so that with `sparse=True` (and an optimizer that takes sparse
    gradients) a step costs what the batch does, not what the table does. alpha is rounded to bfloat16, which is what
    `netsuke.export_embeddings` writes; the gradient passes the rounding as if it were not there.

    binary_w: the binarizer; BiRealWeight (alpha_r = mean |w_r|) when not given. Rows are its filters. `weight` is the
    latent float weight (num_embeddings, embedding_dim). Arguments, inputs and shapes are those of torch.nn.EmbeddingBag
    otherwise, without max_norm, scale_grad_by_freq and the mode "max".

    Raises netsuke.Error for these, and for AdaBinWeight, whose sets have a centre beside the scale.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *args: Any,
        binary_w: WeightBinarizer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, *args, **kwargs)
        if self.max_norm is not None or self.scale_grad_by_freq or self.mode == "max":
            raise Error("a binary table has neither max_norm nor scale_grad_by_freq, and its mode is 'sum' or 'mean'")
        if isinstance(binary_w, AdaBinWeight):
            raise Error("AdaBinWeight has a centre beside the scale, and a row has one number: take BiRealWeight")
        self.binary_w = binary_w if binary_w is not None else BiRealWeight()

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        rows, places = torch.unique(input, return_inverse=True)
        padding = None
        if self.padding_idx is not None:
            padding = next(iter((rows == self.padding_idx).nonzero().flatten().tolist()), None)
        return F.embedding_bag(
            places,
            self.binarized(rows),
            offsets,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=padding,
        )

    def binarized(self, rows: Tensor) -> Tensor:
        """What these rows count as: (len(rows), embedding_dim), each row plus or minus one bfloat16 number."""
        latent = F.embedding(rows, self.weight, sparse=self.sparse)
        values = self.binary_w.values(latent)
        if torch.is_grad_enabled() and latent._version:  # the binarizer clamped or centred the latent weights, in place
            with torch.no_grad():
                self.weight[rows] = latent
        return straight_through(values.bfloat16().to(values.dtype), values)

    @classmethod
    def from_float(cls, bag: nn.EmbeddingBag, binary_w: WeightBinarizer | None = None) -> BinaryEmbeddingBag:
        """The same table, binarized: it takes over the weight parameter itself."""
        names = ("max_norm", "scale_grad_by_freq", "mode", "sparse", "include_last_offset", "padding_idx")
        options = {name: getattr(bag, name) for name in names}
        layer = cls(bag.num_embeddings, bag.embedding_dim, **options, device="meta", binary_w=binary_w)
        layer.weight = bag.weight
        return layer.train(bag.training)
