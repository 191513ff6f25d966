"""Bi-Real Net's weights, which ReActNet has too: signs with a scale that the gradient does not see."""

from __future__ import annotations

from torch import Tensor

from netsuke.nn.binarizer import WeightBinarizer, WeightSet
from netsuke.nn.ste import signs, straight_through


class BiRealWeight(WeightBinarizer):
    """w_b = alpha * sign(w), alpha = mean |w| of the filter, sign(0) = +1 (Liu et al. 2018, their PyTorch code):

        dw_b/dw = 1 for |w| <= 1, else 0

    The scale is not in the backward: neither as a factor of it nor by its own gradient. Weight (O, ...) -> WeightSet.
    """

    def forward(self, weight: Tensor) -> WeightSet:
        alpha = weight.detach().abs().flatten(1).mean(1)
        return WeightSet(signs(weight >= 0, weight), alpha, alpha.new_zeros(len(alpha)))

    def values(self, weight: Tensor) -> Tensor:
        return straight_through(super().values(weight), weight.clamp(-1, 1))
