"""Attention matching: where on its maps a student is active should be where its teacher is (Martinez et al. 2020,
"Training Binary Neural Networks with Real-to-Binary Convolutions", section 4.2, as Larq's zoo computes it).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error


class Watch:
    """What layers of a network make in its forward pass: `maps`, of the last one, in the order of `names`.

    names: of modules, as in named_modules(). Leaves nothing behind in the network once it is closed, or left as a
    context. Raises netsuke.Error for a name that the network does not have.
    """

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._made: dict[str, Tensor] = {}
        known = dict(network.named_modules())
        for name in self.names:
            if name not in known:
                raise Error(f"attention: {type(network).__name__} has no layer {name!r}: named_modules() lists them")
        self._handles = [known[name].register_forward_hook(self._keep(name)) for name in self.names]

    def _keep(self, name: str) -> Any:
        def keep(_: nn.Module, __: Any, made: Any) -> None:
            self._made[name] = made

        return keep

    def take(self) -> list[Tensor]:
        """The maps of the last forward pass, which are forgotten. Raises netsuke.Error where a layer did not run."""
        made, self._made = self._made, {}
        for name in self.names:
            if name not in made:
                raise Error(f"attention: the layer {name!r} did not run in the forward pass: name one that does")
        return [made[name] for name in self.names]

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def attention_map(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H, W): the mean over channels of the squares, divided by its largest number in the image."""
    energy = x.to(torch.promote_types(x.dtype, torch.float32)).square().mean(1)
    largest = energy.amax((1, 2), keepdim=True)
    return energy / largest.clamp_min(torch.finfo(energy.dtype).tiny)


def attention_matching(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """The mean over layers, images and pixels of (attention of the student - attention of the teacher)^2, a scalar.

    student, teacher: as many maps (N, C, H, W) each; of a pair, all but C is equal. No gradient reaches the teacher.
    Raises netsuke.Error for maps that do not fit.
    """
    if len(student) != len(teacher) or not student:
        raise Error(
            f"attention: {len(student)} layers of the student and {len(teacher)} of the teacher: name as many of each"
        )
    losses = []
    for own, other in zip(student, teacher, strict=True):
        if own.dim() != 4 or other.dim() != 4 or own.shape[2:] != other.shape[2:] or len(own) != len(other):
            raise Error(
                f"attention: a map of the student is {tuple(own.shape)}, the teacher's {tuple(other.shape)}: name "
                "layers whose maps have one height and width"
            )
        losses.append((attention_map(own) - attention_map(other.detach())).square().mean())
    return torch.stack(losses).mean()
