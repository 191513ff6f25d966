"""Networks that teach: frozen, in eval mode, and asked for logits alone."""

from __future__ import annotations

import contextlib
import copy
import importlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from netsuke.artifact.contract import Error, first_line
from netsuke.models import create_model, load_weights
from netsuke.nn.parallel import unwrapped
from netsuke.train.attention import Watch

CURRICULA = ("all", "consecutive")
PRECISIONS = ("float32", "bfloat16")
TIMM = "timm/"
PRETRAINED = "pretrained"


@dataclass(frozen=True)
class TeacherSource:
    """Where a teacher comes from.

    model: its name in the registry, or timm/NAME for one of timm's (which netsuke does not bring along). weights: the
    path of its checkpoint; of a timm model also "pretrained", which timm downloads. arguments: further ones of
    `netsuke.create_model` or `timm.create_model`, as num_classes.
    """

    model: str
    weights: str | Path
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> nn.Module:
        """The network with its weights. Raises netsuke.Error as create_model and load_weights do."""
        if not self.model.startswith(TIMM):
            return load_weights(create_model(self.model, **self.arguments), self.weights)
        if str(self.weights) == PRETRAINED:
            return _timm(self.model, pretrained=True, **self.arguments)
        return load_weights(_timm(self.model, **self.arguments), self.weights)


class Teachers:
    """Frozen copies of `networks`: `teachers(images, progress)` is the list of the active ones' logits.

    networks: modules (N, C, H, W) -> logits (N, classes), weakest first. They are left alone: the copies are in eval
    mode, in channels-last order, with their batch norms folded into the convolutions where torch.fx can trace them.
    curriculum: who teaches at `progress`, the finished share of the epochs.
        "all"          everyone, always
        "consecutive"  BNext's, from weak to strong (Guo et al. 2022): the last network is the main teacher and always
                       active; beside it each of the A assistants before it in turn, for 1/A of the epochs. The main
                       teacher may be the last assistant too: it then runs once and is listed twice
    precision: "float32", or "bfloat16" for autocast; the logits are float32 either way. device: where they run. watch:
    layers of the last network whose maps `maps()` gives after a call.

    Raises netsuke.Error where there is no network, or too few for the curriculum, or a setting is unknown.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        curriculum: str = "all",
        precision: str = "float32",
        device: torch.device | str = "cpu",
        watch: Sequence[str] = (),
    ) -> None:
        if curriculum not in CURRICULA:
            raise Error(f"the teachers' curriculum is {curriculum!r}: use one of {', '.join(CURRICULA)}")
        if precision not in PRECISIONS:
            raise Error(f"the teachers' precision is {precision!r}: use one of {', '.join(PRECISIONS)}")
        needed = 2 if curriculum == "consecutive" else 1
        if len(networks) < needed:
            raise Error(
                f"the curriculum {curriculum!r} needs at least {needed} teachers, and there are {len(networks)}"
            )
        self.curriculum = curriculum
        self.precision = precision
        self.device = torch.device(device)
        frozen: dict[int, nn.Module] = {}
        for network in networks:
            if id(network) not in frozen:
                # Folded networks are one graph, whose layers are no longer called.
                frozen[id(network)] = _frozen(network, fold=not watch).to(self.device)
        self.networks = [frozen[id(network)] for network in networks]
        self._watch = Watch(self.networks[-1], watch)

    @classmethod
    def load(cls, sources: Iterable[TeacherSource], **settings: Any) -> Teachers:
        """The teachers of these sources; equal ones share a network. settings: as of the class."""
        loaded: list[tuple[TeacherSource, nn.Module]] = []
        for source in sources:
            known = [network for other, network in loaded if other == source]
            loaded.append((source, known[0] if known else source.load()))
        return cls([network for _, network in loaded], **settings)

    def __len__(self) -> int:
        return len(self.networks)

    def active(self, progress: float) -> list[int]:
        """Indices of those who teach at `progress` (0 to 1, as for nn.progressive: epoch / epochs).

        consecutive: floor(A * progress) and the main one, so that an assistant changes where BNext's code does, at
        floor(epoch / (epochs / A)).
        """
        if not 0 <= progress <= 1:
            raise Error(f"progress is {progress}, but it is the share of training done: give 0 to 1")
        if self.curriculum == "all":
            return list(range(len(self)))
        assistants = len(self) - 1
        turn = math.floor(assistants * progress + 1e-9)  # epoch / epochs may lie just below a whole share
        return [min(turn, assistants - 1), assistants]

    def __call__(self, images: Tensor, progress: float) -> list[Tensor]:
        """images: (N, C, H, W), normalised, on the teachers' device. Float32 logits (N, classes) of each."""
        active = self.active(progress)
        made = {id(self.networks[i]): self.logits(i, images) for i in _distinct(active, self.networks)}
        return [made[id(self.networks[i])] for i in active]

    def maps(self) -> list[Tensor]:
        """What the watched layers made in the last call, float32 (N, C, H, W). They are handed out once."""
        return [made.float().clone() for made in self._watch.take()]

    def logits(self, index: int, images: Tensor) -> Tensor:
        """What one teacher says, active or not; images and result as for __call__."""
        low = self.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            logits = self.networks[index](images.float().contiguous(memory_format=torch.channels_last)).float()
        # A tensor made in inference mode cannot take part in the student's backward; its copy can.
        return logits.clone()


def _timm(model: str, **arguments: Any) -> nn.Module:
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise Error(f"the teacher {model} needs timm: pip install timm, or name a model of the registry") from None
    try:
        return timm.create_model(model.removeprefix(TIMM), **arguments)
    except Exception as error:  # an unknown name, or a download that fails in any way
        raise Error(f"timm cannot make the teacher {model}: {first_line(error)}") from error


def _distinct(indices: Sequence[int], networks: Sequence[nn.Module]) -> list[int]:
    """The indices without those of a network that is there already."""
    return list({id(networks[i]): i for i in indices}.values())


def _frozen(network: nn.Module, fold: bool) -> nn.Module:
    """A copy that only infers. fold: its batch norms, where torch.fx can trace it."""
    still = copy.deepcopy(unwrapped(network)).float().eval()
    if fold:
        with contextlib.suppress(Exception):  # tracing runs the user's forward on stand-ins, which may fail in any way
            still = fuse(still).eval()
    still.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return still.requires_grad_(False)
