"""The loss landscape: against a computation by hand, the same after a cut, and the figures of known surfaces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import netsuke
from netsuke import Error
from netsuke.analyze import landscape as landscape_module
from netsuke.analyze import loss_landscape, smoothness
from netsuke.analyze.landscape import directions, has_filters
from netsuke.nn import BinaryConv2d


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(10, 3, 8, 8, generator=random), torch.randint(4, (10,), generator=random)


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = BinaryConv2d(6, 6, 3, padding=1)
        made = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), body, nn.Flatten(), nn.Linear(6 * 36, 4))
        made(torch.randn(20, 3, 8, 8))  # running statistics that are not the initial ones
        return made


def test_directions_are_as_long_as_the_filters_and_leave_the_rest(network: nn.Module) -> None:
    made = directions(network, 0)
    assert set(made) == {"0.weight", "2.weight", "4.weight"}  # no bias, batch norm, or AdaBin's alpha and beta
    for name, direction in made.items():
        own = network.get_parameter(name).detach()
        lengths = [d.norm() for d in direction]
        assert torch.allclose(torch.stack(lengths), torch.stack([w.norm() for w in own]))
    other = directions(network, 1)
    assert abs(float(torch.cosine_similarity(made["4.weight"].flatten(), other["4.weight"].flatten(), 0))) < 0.1
    assert not has_filters(torch.zeros(1, 8, 1, 1))
    with pytest.raises(Error, match="no weights of two dimensions"):
        directions(nn.BatchNorm2d(3), 0)


def test_points_by_hand(network: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    images, labels = data
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = loss_landscape(network, images, labels, points=3, radius=0.5, seed=3, batch=4)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert found.at.tolist() == [-0.5, 0.0, 0.5]
    first, second = directions(network, 3), directions(network, 4)
    network.eval()
    for i, y in enumerate(found.at):
        for j, x in enumerate(found.at):
            moved = dict(before)
            for name in first:
                moved[name] = before[name] + x * first[name] + y * second[name]
            with torch.no_grad():
                logits = torch.func.functional_call(network, moved, images)
            assert found.loss[i, j] == pytest.approx(float(cross_entropy(logits, labels)), rel=1e-5)
            assert found.accuracy[i, j] == pytest.approx(100 * float((logits.argmax(1) == labels).float().mean()))


def test_batch_statistics_hide_a_shift(network: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    images, labels = data
    settings = {"points": 3, "radius": 1.0, "batch": 10}
    running, batch = (loss_landscape(network, images, labels, statistics=s, **settings) for s in ("running", "batch"))
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert not np.allclose(running.loss, batch.loss)
    with torch.no_grad():
        norm.running_mean += 1
    after = loss_landscape(network, images, labels, statistics="batch", **settings)
    assert np.array_equal(after.loss, batch.loss)
    assert not np.allclose(loss_landscape(network, images, labels, **settings).loss, running.loss)


def test_it_goes_on_where_it_was(
    network: nn.Module, data: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, done = tmp_path / "landscape.json", []
    whole = loss_landscape(network, *data, points=5)

    def cut(share: float) -> None:
        done.append(share)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loss_landscape(network, *data, points=5, cache=cache, progress=cut)
    assert len(json.loads(cache.read_text())["loss"]) == 2
    again: list[float] = []
    found = loss_landscape(network, *data, points=5, cache=cache, progress=again.append)
    assert again == [0.6, 0.8, 1.0]
    assert np.array_equal(found.loss, whole.loss)
    assert np.array_equal(found.accuracy, whole.accuracy)

    def measured(*_: object) -> None:
        raise AssertionError("a finished landscape was measured again")

    monkeypatch.setattr(landscape_module, "_measure", measured)
    assert np.array_equal(loss_landscape(network, *data, points=5, cache=cache).loss, whole.loss)
    with pytest.raises(AssertionError):
        loss_landscape(network, *data, points=5, radius=0.5, cache=cache)
    with torch.no_grad():
        network[4].bias += 1  # type: ignore[operator,union-attr]
    with pytest.raises(AssertionError):
        loss_landscape(network, *data, points=5, cache=cache)


def test_figures_of_known_surfaces() -> None:
    at = np.linspace(-1, 1, 21)
    bowl = at**2 + at[:, None] ** 2
    assert smoothness(bowl).bumps == pytest.approx(0)
    assert smoothness(bowl).rise == pytest.approx(float(bowl.mean()))
    # First differences of x^2 are 2 x h halfway between points, second ones 2 h^2.
    h, halfway = 0.1, (at[1:] + at[:-1]) / 2
    assert smoothness(bowl).bend == pytest.approx(2 * h**2 / (2 * h * np.sqrt((halfway**2).mean())))
    assert smoothness(3 * at + at[:, None]).bend == pytest.approx(0)
    flat = smoothness(np.ones((5, 5)))
    assert (flat.bumps, flat.bend, flat.rise) == (0, 0, 0)
    noise = np.random.default_rng(0).standard_normal((201, 201))
    assert smoothness(noise).bend == pytest.approx(np.sqrt(3), rel=0.02)
    # Every line goes 2 down, 1 up, 1 down, 2 up: 6, where 4 would do.
    wave = np.tile([2.0, 0, 1, 0, 2], (5, 1))
    assert smoothness((wave + wave.T) / 1).bumps == pytest.approx(0.5)
    assert smoothness(bowl + 0.2 * np.sin(9 * at) ** 2).bumps > smoothness(bowl).bumps


def test_errors(network: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    images, labels = data
    with pytest.raises(Error, match="odd number"):
        loss_landscape(network, images, labels, points=4)
    with pytest.raises(Error, match="images with labels"):
        loss_landscape(network, images, labels[:3])
    with torch.no_grad():
        network[4].bias += float("nan")  # type: ignore[operator,union-attr]
    with pytest.raises(Error, match=r"not finite at \(-1.0, -1.0\)"):
        loss_landscape(network, images, labels, points=3)


def test_a_registry_model_has_a_landscape() -> None:
    model = netsuke.create_model("adabin_resnet20")
    found = loss_landscape(model, torch.zeros(2, 3, 32, 32), torch.tensor([1, 2]), points=3)
    assert found.loss.shape == (3, 3)
    assert np.isfinite(found.loss).all()
