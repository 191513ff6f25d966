"""AdaBin: adaptive binary sets for weights and activations (Tu et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from netsuke.methods.method import Method
from netsuke.nn import ActivationBinarizer, AdaBinActivation, AdaBinWeight, Maxout, WeightBinarizer


@dataclass(frozen=True)
class AdaBin(Method):
    """Weights equalised by mean and deviation, activations with a learned centre and distance, Maxout for ReLU.

    Downsampling 1x1 shortcuts stay float, as in the paper's networks. center: as for nn.AdaBinActivation.
    """

    center: str = "paper"

    def activation(self) -> ActivationBinarizer:
        return AdaBinActivation(self.center)

    def weight(self) -> WeightBinarizer:
        return AdaBinWeight()

    def nonlinearity(self, channels: int) -> nn.Module:
        return Maxout(channels)


ADABIN = AdaBin("adabin", "Tu et al. 2022, AdaBin: Improving Binary Neural Networks with Adaptive Binary Sets")
