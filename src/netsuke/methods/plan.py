"""Which layers of a network are split, and to which ranks, for a whole-model budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from netsuke.analyze.count import work_of
from netsuke.artifact.contract import Error
from netsuke.methods.behind import Behind, behind
from netsuke.methods.factors import Rank, cannot_split, spatially, window_energies
from netsuke.methods.ranks import Choice, choose_ranks
from netsuke.methods.reconstruct import energies
from netsuke.methods.responses import Responses
from netsuke.methods.skip import Skip, skipper


@dataclass(frozen=True)
class _Site:
    """A convolution that may be split. pixels: of its output map. column_pixels: of the map behind a k x 1 part, which
    is as wide as the input. energies: of its channels. macs: of the layer whole."""

    layer: nn.Conv2d
    pixels: int
    column_pixels: int
    macs: int
    energies: Tensor
    behind: Behind

    def channels(self, window: int | None) -> Choice:
        """Of d', where the window is whole, or split already at the rank `window`."""
        d, c, h, w = self.layer.weight.shape
        if window is None:
            return Choice(self.energies, self.pixels * (c * h * w + d), 0, self.macs)
        column = self.column_pixels * c * h * window
        return Choice(self.energies, self.pixels * (w * window + d), column, column + self.pixels * d * w * window)

    def windows(self) -> Choice:
        """Of d''."""
        d, c, h, w = self.layer.weight.shape
        weight = self.behind.scale.view(-1, 1, 1, 1) * self.layer.weight.detach().double().cpu()
        return Choice(window_energies(weight), self.column_pixels * c * h + self.pixels * d * w, 0, self.macs)


class Plan:
    """What the convolutions and linear layers of a model cost and hold, and the ranks that speaks for.

    macs: multiply-accumulates of one image, of each that runs, in running order. behind: what stands behind those
    convolutions that can be split. skipped: (layer, why it stays whole), as far as ranks were chosen.
    """

    def __init__(self, model: nn.Module, seen: Responses, skip: Skip, looked_at: Callable[[str], bool]) -> None:
        """skip: as for `netsuke.low_rank`. looked_at: whether a convolution of some name may be split."""
        self._layers = {name: m for name, m in model.named_modules() if isinstance(m, (_ConvNd, nn.Linear))}
        self.macs = layer_macs(model, seen)
        self.skipped: list[tuple[str, str]] = []
        skipped = skipper(model, skip)
        self._whole = {
            name: cannot_split(layer)
            or ("" if name in self.macs else "it does not run on the calibration images")
            or ("skip= names it" if skipped(name, layer) else "")
            for name, layer in self._layers.items()
        }
        convolutions = {
            name: layer
            for name, layer in self._layers.items()
            if isinstance(layer, nn.Conv2d) and not self._whole[name] and looked_at(name)
        }
        maps = seen.maps(model, list(convolutions))
        for name in [name for name in convolutions if len(maps[name]) > 1]:
            self._whole[name] = f"it runs {len(maps[name])} times in one forward"
            del convolutions[name]
        self.behind = behind(model, {name: len(layer.weight) for name, layer in convolutions.items()})
        covariances = seen.covariances(model, list(convolutions))
        self._sites = {}
        for name in [name for name in self.macs if name in convolutions]:
            given, made = maps[name][0]
            scale = self.behind[name].scale
            held = energies(scale[:, None] * covariances[name] * scale)
            pixels, column = made[2] * made[3], made[2] * given[3]
            stands = self.behind[name]
            self._sites[name] = _Site(convolutions[name], pixels, column, self.macs[name], held, stands)

    def check(self, ranks: Mapping[str, Rank]) -> None:
        """Raises netsuke.Error for a layer among `ranks` that must stay whole."""
        for name in ranks:
            if self._whole[name]:
                raise Error(f"{name} cannot be split: {self._whole[name]}")

    def energy(self, name: str, rank: int) -> float:
        """The share of a layer's energy that so many channels keep."""
        held = self._sites[name].energies if name in self._sites else _of_weight(self._layers[name])
        return Choice(held, 1, 0, 0).kept(rank)

    def total(self, macs: Mapping[str, int], kind: type[nn.Module]) -> int:
        """Sum of `macs` over the layers of a kind, and over what stands in their places."""
        places = [name for name, layer in self._layers.items() if isinstance(layer, kind)]
        return sum(count for name, count in macs.items() if any(inside(name, place) for place in places))

    def convolutions(self, speedup: float, windows: bool) -> dict[str, Rank]:
        """Ranks for so many times fewer multiply-accumulates in all convolutions together. windows: split these too.

        Raises netsuke.Error where that cannot be reached.
        """
        if speedup == 1:
            return {}
        budget = self._budget(_ConvNd, speedup, sum(site.macs for site in self._sites.values()))
        windows_at = self._windows(budget) if windows else {}
        choices = {name: site.channels(windows_at.get(name)) for name, site in self._sites.items()}
        found = self._chosen(_ConvNd, choices, speedup, budget)
        ranks: dict[str, Rank] = {}
        for name, rank in found.items():
            pays = choices[name].pays(rank)
            if name in windows_at:
                ranks[name] = (windows_at[name], rank if pays else None)
            elif pays:
                ranks[name] = rank
        self._note(_ConvNd, ranks)
        return ranks

    def linears(self, speedup: float) -> dict[str, Rank]:
        """The same for the linear layers. Raises netsuke.Error as `convolutions`."""
        if speedup == 1:
            return {}
        choices = {}
        for name, layer in self._layers.items():
            if isinstance(layer, nn.Linear) and not self._whole[name]:
                d, c = layer.weight.shape
                rows = self.macs[name] // (d * c)
                choices[name] = Choice(_of_weight(layer), rows * (c + d), 0, self.macs[name])
        budget = self._budget(nn.Linear, speedup, sum(choice.whole for choice in choices.values()))
        found = self._chosen(nn.Linear, choices, speedup, budget)
        ranks: dict[str, Rank] = {name: rank for name, rank in found.items() if choices[name].pays(rank)}
        self._note(nn.Linear, ranks)
        return ranks

    def _budget(self, kind: type[nn.Module], speedup: float, able: int) -> float:
        """What the layers that may be split, `able` whole, may come to."""
        total = self.total(self.macs, kind)
        return total / speedup - (total - able)

    def _windows(self, budget: float) -> dict[str, int]:
        """d'' of the windows that are split: they take the root of the speed-up, the channels the rest."""
        choices = {name: site.windows() for name, site in self._sites.items() if spatially(site.layer)}
        share = sqrt(max(budget, 0) / max(1, sum(site.macs for site in self._sites.values())))
        ranks = choose_ranks(choices, share * sum(choice.whole for choice in choices.values()))
        return {name: rank for name, rank in ranks.items() if choices[name].pays(rank)}

    def _chosen(
        self, kind: type[nn.Module], choices: Mapping[str, Choice], speedup: float, budget: float
    ) -> dict[str, int]:
        what = "linear layers" if kind is nn.Linear else "convolutions"
        if not choices:
            raise Error(f"there are no {what} that can be split{self._reasons(kind)}")
        ranks = choose_ranks(choices, budget)
        cost = sum(choice.cost(ranks[name]) for name, choice in choices.items())
        if cost > budget:
            total = self.total(self.macs, kind)
            least = total / (total / speedup - budget + cost)
            raise Error(
                f"{speedup:g} times fewer multiply-accumulates in the {what} cannot be reached, "
                f"{least:.2f} times with all ranks 1{self._reasons(kind)}"
            )
        return ranks

    def _reasons(self, kind: type[nn.Module]) -> str:
        whole = [
            f"{name}: {why}"
            for name, why in self._whole.items()
            if why and isinstance(self._layers[name], kind) and self.macs.get(name)
        ]
        more = f"; and {len(whole) - 3} more" if len(whole) > 3 else ""
        return f". What stays whole: {'; '.join(whole[:3])}{more}" if whole else ""

    def _note(self, kind: type[nn.Module], ranks: Mapping[str, Rank]) -> None:
        self.skipped += [
            (name, why or "it is worth its cost: no rank was chosen that is cheaper")
            for name, why in self._whole.items()
            if isinstance(self._layers[name], kind) and name not in ranks
        ]


def inside(name: str, place: str) -> bool:
    """Whether the module `name` is the one at `place`, or a part of it."""
    return name == place or not place or name.startswith(f"{place}.")


def layer_macs(model: nn.Module, seen: Responses) -> dict[str, int]:
    """Multiply-accumulates of one image in each convolution and linear layer that runs, in running order."""
    layers = {name for name, m in model.named_modules() if isinstance(m, (_ConvNd, nn.Linear))}
    macs: dict[str, int] = {}
    for work in work_of(model, seen.first):
        if work.module in layers:
            macs[work.module] = macs.get(work.module, 0) + work.macs
    return macs


def _of_weight(layer: nn.Module) -> Tensor:
    """The energy of a linear layer: of its responses to inputs without a preference."""
    weight = layer.get_parameter("weight").detach().double().cpu()
    return energies(weight @ weight.T)
