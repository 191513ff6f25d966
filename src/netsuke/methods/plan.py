"""Which layers of a network are split, and to which ranks, for a whole-model budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from netsuke.analyze.count import work_of
from netsuke.artifact.contract import Error
from netsuke.methods.behind import Behind, behind
from netsuke.methods.factors import Rank, cannot_split, spatially, window_energies
from netsuke.methods.ranks import Choice, choose_ranks
from netsuke.methods.reconstruct import directions, energies
from netsuke.methods.responses import Responses
from netsuke.methods.skip import Skip, skipper


@dataclass(frozen=True)
class _Site:
    """A convolution that may be split. pixels: of its output map. column_pixels: of the map behind a k x 1 part, which
    is as wide as the input. macs: of the layer whole. covariance: of what it gives, its batch norm included."""

    layer: nn.Conv2d
    pixels: int
    column_pixels: int
    macs: int
    covariance: Tensor
    behind: Behind

    def channels(self) -> Choice:
        """Of d', behind the whole window."""
        d, c, h, w = self.layer.weight.shape
        return Choice(energies(self.covariance), self.pixels * (c * h * w + d), 0, self.macs)

    def windows(self, channels: int | None) -> Choice:
        """Of d'', before the d' channels that were chosen, or all of them."""
        d, c, h, w = self.layer.weight.shape
        outputs = channels or d
        restore = self.pixels * d * channels if channels else 0
        price = self.column_pixels * c * h + self.pixels * outputs * w
        return Choice(
            window_energies(self.filters(channels)), price, restore, self.pixels * outputs * c * h * w + restore
        )

    def filters(self, channels: int | None) -> Tensor:
        """What a `reduce` of so many channels is, (d', c, k, k), by principal components; the layer's own for None."""
        weight = self.behind.scale.view(-1, 1, 1, 1) * self.layer.weight.detach().double().cpu()
        if channels is None:
            return weight
        return (directions(self.covariance, channels) @ weight.flatten(1)).view(-1, *weight.shape[1:])


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
            covariance = scale[:, None] * covariances[name] * scale
            pixels, column = made[2] * made[3], made[2] * given[3]
            stands = self.behind[name]
            self._sites[name] = _Site(convolutions[name], pixels, column, self.macs[name], covariance, stands)

    def check(self, ranks: Mapping[str, Rank]) -> None:
        """Raises netsuke.Error for a layer among `ranks` that must stay whole."""
        for name in ranks:
            if self._whole[name]:
                raise Error(f"{name} cannot be split: {self._whole[name]}")

    def energy(self, name: str, rank: int) -> float:
        """The share of a layer's energy that so many channels keep."""
        held = energies(self._sites[name].covariance) if name in self._sites else _of_weight(self._layers[name])
        return Choice(held, 1, 0, 0).kept(rank)

    def total(self, macs: Mapping[str, int], kind: type[nn.Module]) -> int:
        """Sum of `macs` over the layers of a kind, and over what stands in their places."""
        places = [name for name, layer in self._layers.items() if isinstance(layer, kind)]
        return sum(count for name, count in macs.items() if any(inside(name, place) for place in places))

    def filters(self, name: str, channels: int | None) -> Tensor:
        """The filters (d', c, k, k) that the window of a layer is split for, its batch norm included."""
        return self._sites[name].filters(channels)

    def convolutions(self, speedup: float, windows: bool) -> dict[str, Rank]:
        """Ranks for so many times fewer multiply-accumulates in all convolutions together. windows: split these too.

        Raises netsuke.Error where that cannot be reached.
        """
        if speedup == 1:
            return {}
        budget = self._budget(_ConvNd, speedup, sum(site.macs for site in self._sites.values()))
        choices = {name: site.channels() for name, site in self._sites.items()}
        ranks: dict[str, Rank] = dict(self._paying(choices, self._chosen(_ConvNd, choices, speedup, budget)))
        if windows:
            ranks = self._with_windows(choices, budget) or ranks
        self._note(_ConvNd, ranks)
        return ranks

    def _with_windows(self, choices: Mapping[str, Choice], budget: float) -> dict[str, Rank]:
        """Channels by the root of the speed-up, then windows for the rest. Where windows cannot give that much the
        channels give more; empty where they must give all."""
        able = {name: site for name, site in self._sites.items() if spatially(site.layer)}
        share = budget / sum(site.macs for site in self._sites.values())
        for power in (0.5, 0.75):
            first = sum(site.macs * share ** (power if name in able else 1) for name, site in self._sites.items())
            channels = self._paying(choices, choose_ranks(choices, first))
            cost = {name: choice.cost(channels.get(name, len(choice.energies))) for name, choice in choices.items()}
            left = budget - sum(count for name, count in cost.items() if name not in able)
            inner = {name: site.windows(channels.get(name)) for name, site in able.items()}
            found = choose_ranks(inner, left)
            if sum(choice.cost(found[name]) for name, choice in inner.items()) <= left:
                both: dict[str, Rank] = {
                    name: (rank, channels.get(name)) for name, rank in self._paying(inner, found).items()
                }
                return {**channels, **both}
        return {}

    @staticmethod
    def _paying(choices: Mapping[str, Choice], ranks: Mapping[str, int]) -> dict[str, int]:
        return {name: rank for name, rank in ranks.items() if choices[name].pays(rank)}

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
        ranks: dict[str, Rank] = dict(self._paying(choices, found))
        self._note(nn.Linear, ranks)
        return ranks

    def _budget(self, kind: type[nn.Module], speedup: float, able: int) -> float:
        """What the layers that may be split, `able` whole, may come to."""
        total = self.total(self.macs, kind)
        return total / speedup - (total - able)

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
