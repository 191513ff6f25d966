"""Two-step training (ReActNet, Liu et al. 2020): activations are binary from the start, weights only in step two."""

from __future__ import annotations

from torch import Tensor, nn

from netsuke.nn.binarizer import WeightBinarizer, WeightSet
from netsuke.nn.layers import BinaryConv2d, BinaryLinear


class FloatWeight(WeightBinarizer):
    """No binarizer: the latent weight goes into the convolution as it is, while the layer waits for step two.

    Its WeightSet is the weight with alpha = 1 and beta = 0, which is no binary set: export refuses such a layer. later:
    the binarizer that step two will use.
    """

    later: WeightBinarizer

    def __init__(self, later: WeightBinarizer) -> None:
        super().__init__()
        # Not a submodule: its tensors stand here, under the names that they have without this class.
        object.__setattr__(self, "later", later)
        self._parameters, self._buffers = later._parameters, later._buffers

    def forward(self, weight: Tensor) -> WeightSet:
        return WeightSet(weight, weight.new_ones(len(weight)), weight.new_zeros(len(weight)))

    def values(self, weight: Tensor) -> Tensor:
        return weight

    def set_progress(self, progress: float) -> None:
        self.later.set_progress(progress)

    def unfinished(self) -> str:
        return "they stay float in step one of two, which netsuke.nn.binarize_weights(model) ends"


def keep_weights_float(model: nn.Module) -> int:
    """Step one: the binary layers of `model` compute with their latent weights. Returns how many layers there are.

    In place; names and values of parameters stay. The step ends with `binarize_weights(model)`, or with a checkpoint:
    its state dict is that of the binary network, so that `netsuke.models.load_weights(create_model(...), path)` is the
    start of step two. The published recipe decays the weights in step one (1e-5) and not in step two.
    """
    layers = _binary_layers(model)
    for layer in layers:
        if not isinstance(layer.binary_w, FloatWeight):
            layer.binary_w = FloatWeight(layer.binary_w)
    return len(layers)


def binarize_weights(model: nn.Module) -> int:
    """Step two: undoes `keep_weights_float`, in place. Returns how many layers had float weights."""
    waiting = [layer for layer in _binary_layers(model) if isinstance(layer.binary_w, FloatWeight)]
    for layer in waiting:
        assert isinstance(layer.binary_w, FloatWeight)
        layer.binary_w = layer.binary_w.later
    return len(waiting)


def _binary_layers(model: nn.Module) -> list[BinaryConv2d | BinaryLinear]:
    return [m for m in model.modules() if isinstance(m, (BinaryConv2d, BinaryLinear))]
