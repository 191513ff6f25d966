"""Progressive binarization of weights by a temperature that falls while training goes on."""

from __future__ import annotations

import torch
from torch import Tensor

from netsuke.artifact.contract import Error
from netsuke.nn.binarizer import WeightBinarizer, WeightSet
from netsuke.nn.ste import signs, straight_through

DECAY = 0.9  # of the temperature, an epoch
EPOCHS = 512  # of the published run
LIMIT = 1.5  # of latent weights, while they train


class TemperatureWeight(WeightBinarizer):
    """BNext's weights (Guo et al. 2022; the technique is BoolNet's, Guo et al. 2021), without a scale:

        w_b = clamp(w / T, -1, 1)     dw_b/dw = 1     T = 0.9^(512 * progress), progress from 0 to 1
        w_b = sign(w), sign(0) = +1   once T < hard_below

    The published run multiplies T by 0.9 after each of its 512 epochs; `nn.progressive` gives a run of any length the
    same curve, so that with hard_below = 1e-7 the last 70 per cent of it see two-valued weights. In training the latent
    weights are clamped to [-1.5, 1.5], in place. T is a buffer, `temperature` (1,), and so part of a checkpoint.

    Weight (O, ...) -> WeightSet, whose signs are between -1 and +1 until T < hard_below.
    """

    temperature: Tensor
    decay, steps = DECAY, EPOCHS

    def __init__(self, hard_below: float = 1e-7) -> None:
        super().__init__()
        self.hard_below = hard_below
        self.register_buffer("temperature", torch.ones(1))

    def forward(self, weight: Tensor) -> WeightSet:
        return WeightSet(self.values(weight), weight.new_ones(len(weight)), weight.new_zeros(len(weight)))

    def values(self, weight: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                weight.clamp_(-LIMIT, LIMIT)
        return straight_through(self.soft_signs(weight), weight)

    def soft_signs(self, weight: Tensor) -> Tensor:
        """clamp(w / T, -1, 1), or signs once T is low; no gradient."""
        latent = weight.detach()
        soft = (latent / self.temperature).clamp_(-1, 1)
        # Not a branch on T, which would make a GPU wait for the program.
        hard = torch.where(self.temperature < self.hard_below, signs(latent >= 0, latent), soft)
        return hard.to(weight.dtype)

    @torch.no_grad()
    def set_progress(self, progress: float) -> None:
        """T = decay^(steps * progress). Raises netsuke.Error for a progress outside 0 to 1."""
        if not 0 <= progress <= 1:
            raise Error(f"progress is {progress}, but it is the share of training done: give 0 to 1")
        self.temperature.fill_(self.decay ** (self.steps * progress))

    def unfinished(self) -> str:
        return (
            f"their temperature is {self.temperature.item():.2g}, so they are still between. Train to the end, "
            "or take the signs as they are with netsuke.nn.progressive(model, 1)"
        )

    def extra_repr(self) -> str:
        return f"hard_below={self.hard_below:g}"


class ScaledTemperatureWeight(TemperatureWeight):
    """BoolNet's weights (Guo et al. 2021, section 3; its published code), n weights a filter:

        w_b = alpha * clamp(w / T, -1, 1)     alpha = mean |w| of the filter     T = 0.965^(400 * progress)
        w_b = alpha * sign(w), sign(0) = +1   in eval mode, whatever T is
        dw_b/dw = alpha * [|w| <= 1] + sign(w) * clamp(w / T, -1, 1) / n

    The published run of 80 epochs multiplies T by 0.965 after each 1000 of its 400,000 steps; its runs of 90 and 120
    epochs go on to lower temperatures, at which nothing is left between the signs. T and `nn.progressive` are as in
    `TemperatureWeight`, but no latent weight is clamped. Weight (O, ...) -> WeightSet.
    """

    decay, steps = 0.965, 400

    def forward(self, weight: Tensor) -> WeightSet:
        alpha = weight.abs().flatten(1).mean(1)
        sign = straight_through(self.soft_signs(weight), weight.clamp(-1, 1))
        return WeightSet(sign, alpha, torch.zeros_like(alpha))

    def values(self, weight: Tensor) -> Tensor:
        binary = self(weight)
        return binary.alpha.view((-1,) + (1,) * (weight.dim() - 1)) * binary.sign

    def soft_signs(self, weight: Tensor) -> Tensor:
        return super().soft_signs(weight) if self.training else signs(weight.detach() >= 0, weight)
