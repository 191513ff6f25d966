"""AdaBin's binarizers in networks of other papers: costs, and that they train."""

from __future__ import annotations

import pytest

import netsuke
from binary_networks import costs, train_two_steps
from netsuke.nn import AdaBinActivation, BinaryConv2d

PLAIN = [
    ("adabin_reactnet_a", "reactnet_a"),
    ("adabin_alexnet", "xnor_alexnet"),
    pytest.param("adabin_meliusnet59", "meliusnet59", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "plain"), PLAIN)
def test_costs_are_those_of_the_plain_network_and_three_terms_an_output(name: str, plain: str) -> None:
    found, base = costs(name), costs(plain)
    assert (found.bops, found.binary_parameters) == (base.bops, base.binary_parameters)
    terms = [layer.flops for layer in found.layers if layer.role == "binary"]
    assert found.flops - base.flops == sum(terms)
    assert all(flops > 0 for flops in terms)


@pytest.mark.parametrize("name", ["adabin_reactnet_a", "adabin_alexnet"])
def test_two_training_steps(name: str) -> None:
    train_two_steps(name)


@pytest.mark.slow
def test_two_training_steps_of_meliusnet59() -> None:
    train_two_steps("adabin_meliusnet59")


def test_branches_of_a_block_share_their_set() -> None:
    model = netsuke.create_model("adabin_reactnet_a", width=0.25)
    sets = {id(m.binary_a) for m in model.modules() if isinstance(m, BinaryConv2d)}
    assert len(sets) == sum(isinstance(m, AdaBinActivation) for m in model.modules()) == 26
