"""Binarizers that sharpen while training goes on."""

from __future__ import annotations

from torch import nn

from netsuke.nn.binarizer import ActivationBinarizer, WeightBinarizer


def progressive(module: nn.Module, progress: float) -> int:
    """Tell every binarizer of `module` how far training is: 0 at the start, 1 at the end. Returns how many there are.

    Call it before each epoch with epoch / epochs. AdaBin's weight binarizers set t = 10^(-3 + 4 * progress) and
    k = max(1/t, 1) by it (IR-Net, Qin et al. 2020, section 3.3), BNext's the temperature T = 0.9^(512 * progress),
    BoolNet's T = 0.965^(400 * progress).
    With progress 1 every weight is two-valued, also of a network that was loaded before its training was over.
    """
    binarizers = [m for m in module.modules() if isinstance(m, (WeightBinarizer, ActivationBinarizer))]
    for binarizer in binarizers:
        binarizer.set_progress(progress)
    return len(binarizers)
