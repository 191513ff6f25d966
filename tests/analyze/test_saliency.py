"""Optimal Brain Damage against exact second derivatives, and as scores of pruning."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian
from torch.nn.functional import cross_entropy

import netsuke
from netsuke import Error
from netsuke.analyze import saliency, second_derivatives


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def network() -> nn.Module:
    layers = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 5)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(5, 4)).double()


IMAGES = torch.randn(6, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def exact(model: nn.Module, name: str) -> Tensor:
    """The diagonal of the whole Hessian of the mean cross entropy by one weight."""
    weight = model.get_parameter(name).detach()

    def loss(flat: Tensor) -> Tensor:
        return cross_entropy(functional_call(model, {name: flat.view_as(weight)}, (IMAGES,)), LABELS)

    return hessian(loss)(weight.flatten()).diagonal().view_as(weight)


@pytest.mark.parametrize("batch", [1, 4])
def test_second_derivatives_are_the_diagonal_of_the_exact_hessian(batch: int) -> None:
    model = network()
    for _ in range(3):  # statistics that are not those of the start
        model(torch.randn(16, 1, 6, 6, dtype=torch.float64))
    model.eval()
    found = second_derivatives(model.train(), IMAGES, batch)
    assert model.training
    model.eval()
    assert set(found) == {"0", "5", "7"}
    for name, h in found.items():
        torch.testing.assert_close(h, exact(model, f"{name}.weight"), rtol=1e-9, atol=1e-12)


def test_saliency_is_what_the_loss_gains_where_it_is_quadratic() -> None:
    model = network().eval()
    h, s = second_derivatives(model, IMAGES), saliency(model, IMAGES)
    torch.testing.assert_close(s["7"], h["7"] * model[7].weight.detach().square() / 2)
    pruned = netsuke.prune(model, sparsity=0.5, scores=s, scope="global")
    gone = torch.cat([s[name][pruned.get_submodule(name).weight == 0] for name in s])
    kept = torch.cat([s[name][pruned.get_submodule(name).weight != 0] for name in s])
    assert float(gone.max()) <= float(kept.min())


def test_what_has_no_second_derivatives_is_refused() -> None:
    with pytest.raises(Error, match="need images"):
        second_derivatives(network(), IMAGES[:0])
    with pytest.raises(Error, match="need images"):
        second_derivatives(nn.Sequential(nn.Flatten()), IMAGES)


def test_a_pruned_model_has_saliencies_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    pruned = netsuke.prune(model, sparsity=0.5)
    found = saliency(pruned, torch.randn(4, 1, 4, 4))["1"]
    assert torch.equal(found == 0, pruned[1].weight == 0)
