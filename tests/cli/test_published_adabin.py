"""benchmarks/published_adabin.py: the plain layers compute what ours do, and the race runs."""

from __future__ import annotations

import torch
from benchmarks.published_adabin import MODEL, PUBLISHED, PublishedConv2d, PublishedMaxout, measure, plain

import netsuke
from netsuke.nn import AdaBinActivation, BinaryConv2d, Maxout


def test_the_plain_layer_computes_what_ours_does() -> None:
    torch.manual_seed(0)
    ours = BinaryConv2d(8, 6, 3, stride=2, padding=1, bias=False, binary_a=AdaBinActivation("published"))
    with torch.no_grad():
        ours.binary_a.alpha_a.fill_(-0.7)
        ours.binary_a.beta_a.fill_(0.3)
    images = 2 * torch.randn(4, 8, 9, 9)
    torch.testing.assert_close(PublishedConv2d(ours)(images), ours(images), rtol=1e-5, atol=1e-5)


def test_the_plain_layer_has_the_gradient_of_ours() -> None:
    torch.manual_seed(0)
    ours = BinaryConv2d(3, 2, 3, bias=False, binary_a=AdaBinActivation("published"))
    images = torch.randn(2, 3, 5, 5)
    gradients = []
    for layer in (ours, PublishedConv2d(ours)):
        ours.zero_grad()
        inputs = images.clone().requires_grad_()
        layer(inputs).square().sum().backward()
        gradients.append((inputs.grad, ours.binary_a.alpha_a.grad, ours.binary_a.beta_a.grad))
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


def test_the_plain_nonlinearity_computes_what_ours_does() -> None:
    ours = Maxout(5)
    images = torch.randn(2, 5, 3, 3)
    torch.testing.assert_close(PublishedMaxout(ours)(images), ours(images))


def test_every_layer_is_replaced() -> None:
    network = plain(netsuke.create_model(MODEL))
    kinds = [type(module) for module in network.modules()]
    assert kinds.count(PublishedConv2d) == 18
    assert BinaryConv2d not in kinds
    assert Maxout not in kinds


def test_the_race_runs() -> None:
    result = measure(weights=None, threads=1, batch=1, runs=2, seconds=1.0)
    assert set(result["ratio"]) == {"torch_binary", PUBLISHED}
    assert all(entry["runs"] == 2 for entry in result["candidates"].values())
    assert {entry["weights"] for entry in result["candidates"].values()} == {"random (seed 0)"}
    assert result["machine"]
