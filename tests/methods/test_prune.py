"""`netsuke.prune`, `netsuke.share` and `netsuke.rate_aware`: which weights, and that the steps compose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import netsuke
from netsuke import Error, artifact
from netsuke.artifact.graph import Conv2d
from netsuke.engine import available_isas
from netsuke.methods.rate_aware import round_biases
from netsuke.methods.share import first_centres, k_means
from netsuke.nn import BinaryConv2d, bake
from netsuke.nn.weights import Levels, sites


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)
    ).eval()


IMAGES = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def zeros(model: nn.Module) -> dict[str, float]:
    return {
        name: float((m.weight == 0).float().mean())
        for name, m in model.named_modules()
        if isinstance(m, nn.Conv2d | nn.Linear)
    }


def test_quality_is_in_standard_deviations_of_what_is_left() -> None:
    model = network()
    weight = model[5].weight.detach()
    pruned = netsuke.prune(model, quality={"5": 1.0})
    assert torch.equal(pruned[5].weight == 0, weight.abs() < weight.std(correction=0))
    assert zeros(pruned)["0"] == zeros(model)["5"] == 0
    again = netsuke.prune(pruned, quality={"5": 1.0})
    kept = pruned[5].weight[pruned[5].weight != 0]
    assert torch.equal(again[5].weight == 0, pruned[5].weight.abs() < kept.std(correction=0))


def test_sparsity_takes_the_smallest_of_each_layer_or_of_all() -> None:
    model = network()
    for name, share in zeros(netsuke.prune(model, sparsity=0.5)).items():
        assert share == pytest.approx(0.5, abs=0.01), name
    everywhere = netsuke.prune(model, sparsity=0.5, scope="global")
    all_weights = torch.cat([m.weight.flatten() for m in model if isinstance(m, nn.Conv2d | nn.Linear)])
    after = torch.cat([m.weight.flatten() for m in everywhere if isinstance(m, nn.Conv2d | nn.Linear)])
    assert float(all_weights[after == 0].abs().max()) <= float(all_weights[after != 0].abs().min())
    assert int((after == 0).sum()) == round(0.5 * len(after))


def test_zeros_stay_zeros_in_layers_that_no_pattern_names() -> None:
    model = bake(netsuke.prune(network(), sparsity=0.5))
    again = netsuke.prune(model, sparsity={"5": 0.9})
    assert zeros(again)["2"] == pytest.approx(0.5, abs=0.01)
    optimizer = torch.optim.AdamW(again.parameters(), 0.1)
    again(IMAGES).square().mean().backward()
    optimizer.step()
    assert zeros(again)["2"] == pytest.approx(0.5, abs=0.01)
    assert zeros(again)["5"] == pytest.approx(0.9, abs=0.01)


def test_scores_decide_instead_of_magnitudes() -> None:
    model = network()
    scores = {"5": torch.rand(10, 8 * 36)}
    pruned = netsuke.prune(model, sparsity={"5": 0.3}, scores=scores)
    gone = pruned[5].weight == 0
    assert float(scores["5"][gone].max()) <= float(scores["5"][~gone].min())


def test_dropout_goes_with_the_layer_behind_it() -> None:
    model = nn.Sequential(
        nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.5), nn.Dropout(0.2), nn.Linear(8, 4)
    )
    pruned = netsuke.prune(model, sparsity={"0": 0.5, "2": 0.75, "6": 0.0}, adjust_dropout=True)
    assert [m.p for m in pruned if isinstance(m, nn.Dropout)] == [0.25, 0.5, 0.2]
    again = netsuke.prune(pruned, sparsity={"6": 0.75}, adjust_dropout=True)
    assert [m.p for m in again if isinstance(m, nn.Dropout)] == [0.25, 0.25, 0.1]
    assert [m.p for m in netsuke.prune(model, sparsity=0.75) if isinstance(m, nn.Dropout)] == [0.5, 0.5, 0.2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one of quality= and sparsity="),
        ({"quality": 1.0, "sparsity": 0.5}, "one of quality= and sparsity="),
        ({"sparsity": 1.0}, "below 1"),
        ({"quality": -1.0}, "0 or more"),
        ({"sparsity": {"fc*": 0.5}}, r"no layer is named 'fc\*'"),
        ({"sparsity": 0.5, "scores": {}}, "scores has none for 0"),
        ({"quality": 0.5, "scope": "global"}, "give sparsity="),
        ({"sparsity": {"0": 0.5, "2": 0.6}, "scope": "global"}, "one sparsity"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(Error, match=message):
        netsuke.prune(network(), **arguments)  # type: ignore[arg-type]


def test_binary_layers_are_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 6, 3), BinaryConv2d(6, 8, 3), nn.Flatten(), nn.Linear(128, 10))
    assert set(zeros(netsuke.prune(model, sparsity=0.5))) == {"0", "1", "3"}
    assert zeros(netsuke.prune(model, sparsity=0.5))["1"] == 0


# ------------------------------------------------------------------------------------------- sharing
def test_k_means_ends_where_every_number_is_at_its_nearest_centre_and_centres_are_means() -> None:
    values = torch.randn(500)
    for start in ("linear", "density", "random"):
        centres = k_means(values, 7, start)
        nearest = (values[:, None].double() - centres.double()).abs().argmin(1)
        means = torch.stack([values[nearest == i].double().mean() for i in range(len(centres))])
        torch.testing.assert_close(centres.double(), means, rtol=1e-6, atol=1e-6)


def test_starts_are_where_the_paper_puts_them() -> None:
    ordered = torch.cat([torch.zeros(99), torch.ones(1)]).double()
    assert first_centres(ordered, 3, "linear", 0).tolist() == [0.0, 0.5, 1.0]
    assert first_centres(ordered, 3, "density", 0).tolist() == [0.0]
    assert set(first_centres(torch.arange(9.0).double(), 4, "random", 0).tolist()) <= set(range(9))


def test_sharing_keeps_zeros_and_has_at_most_so_many_numbers() -> None:
    shared = netsuke.share(netsuke.prune(network(), sparsity=0.8), {"*": 3, "2": 5})
    assert zeros(shared)["5"] == pytest.approx(0.8, abs=0.01)
    assert len(shared[5].weight.unique()) <= 8
    assert 8 < len(shared[2].weight.unique()) <= 32
    for bits in (0, 13, 2.5):
        with pytest.raises(Error, match="whole number, 1 to 12"):
            netsuke.share(network(), {"*": bits})  # type: ignore[dict-item]
    with pytest.raises(Error, match="start is 'forgy'"):
        netsuke.share(network(), start="forgy")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- the chain
def test_prune_share_code_export_is_one_chain(tmp_path: Path) -> None:
    plain = network()
    chain = [plain, netsuke.prune(plain, sparsity=0.9)]
    chain.append(netsuke.share(chain[-1], 4))
    sizes = []
    for i, model in enumerate(chain):
        path = netsuke.export(model, IMAGES, tmp_path / f"{i}.netsuke")
        sizes.append(path.stat().st_size)
        graph = artifact.read(path)
        held = [node.weight for node in graph.nodes if isinstance(node, Conv2d)]
        own = bake(model)[5].weight.detach().numpy()
        assert np.array_equal(np.sort(held[-1].reshape(-1)), np.sort(own.reshape(-1)))
        got = artifact.Reference(graph)(IMAGES.numpy())
        np.testing.assert_allclose(got, model(IMAGES).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert sizes[0] > 2 * sizes[1] > 3 * sizes[2]


@pytest.mark.skipif(not available_isas(), reason="the engine is not compiled here")
@pytest.mark.parametrize("form", ["shared", "on a grid"])
def test_batch_norm_leaves_few_values_and_the_engine_says_what_the_module_says(form: str, tmp_path: Path) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 24, 3, bias=False), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 32, 3, bias=False),
        nn.BatchNorm2d(32), nn.Flatten(), nn.Linear(32 * 16, 64),
    )  # fmt: skip
    for norm in (model[1], model[4]):
        nn.init.uniform_(norm.weight, -2, 2)
        nn.init.uniform_(norm.running_var, 0.1, 3)
        nn.init.normal_(norm.running_mean)
    pruned = netsuke.prune(model.eval(), sparsity={"*": 0.9, "6": 0.97})
    small = netsuke.share(pruned, 4) if form == "shared" else netsuke.rate_aware(pruned, 0.5)
    path = netsuke.export(small, IMAGES, tmp_path / "small.netsuke")
    graph = artifact.read(path)
    scaled = [node for node in graph.nodes if isinstance(node, Conv2d) and node.weight_scale is not None]
    assert [len(node.weight_scale) for node in scaled] == [24, 32]  # type: ignore[arg-type]
    expected = artifact.Reference(graph)(IMAGES.numpy())
    np.testing.assert_allclose(expected, small(IMAGES).detach().numpy(), rtol=1e-4, atol=1e-5)
    for isa in available_isas():
        engine = netsuke.load(path, isa=isa)
        assert 2 in engine.sparse_nodes or isa == "scalar", isa
        np.testing.assert_array_equal(engine(IMAGES.numpy()), expected)


def test_pruned_layers_train_quantized() -> None:
    quantized = netsuke.quantize(bake(netsuke.prune(network(), sparsity=0.5)), "int8", IMAGES)
    both = netsuke.prune(quantized, sparsity=0.0)
    torch.optim.SGD(both.parameters(), 0.1).step()
    both(IMAGES).sum().backward()
    torch.optim.SGD(both.parameters(), 0.1).step()
    assert zeros(both)["5"] == pytest.approx(0.5, abs=0.01)


# ------------------------------------------------------------------------------------------- rate-aware
def test_rate_aware_training_makes_fewer_bits() -> None:
    model = netsuke.rate_aware(network(), {"5": 0.5})
    assert [site.name for site in sites(model)] == ["5"]
    x, y = torch.randn(64, 1, 8, 8), torch.randint(0, 10, (64,))
    bits = []
    for weight in (0.0, 1e-3):
        student = netsuke.rate_aware(network(), {"5": 0.5})
        optimizer = torch.optim.SGD(student.parameters(), 0.05)
        for _ in range(30):
            netsuke.nn.count_levels(student)
            rate = netsuke.nn.rate(student)
            assert rate is not None
            loss = nn.functional.cross_entropy(student(x), y) + weight * rate
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        netsuke.nn.count_levels(student)
        bits.append(float(netsuke.nn.rate(student)))  # type: ignore[arg-type]
    assert bits[1] < 0.6 * bits[0]
    with pytest.raises(Error, match="above 0"):
        netsuke.rate_aware(network(), 0.0)


def test_a_grid_is_in_standard_deviations_and_leaves_dead_layers_alone() -> None:
    model = network()
    with torch.no_grad():
        model[2].weight.zero_()
    made = netsuke.rate_aware(model, 0.25)
    assert [site.name for site in sites(made)] == ["0", "5"]
    form = made[5].parametrizations.weight[0]
    assert isinstance(form, Levels)
    assert float(form.step) == pytest.approx(0.25 * float(model[5].weight.std(correction=0)), rel=1e-6)


def test_rounded_biases_have_six_bits_of_fraction() -> None:
    model = network()
    before = model[5].bias.detach().clone()
    assert round_biases(model) is model
    after = model[5].bias.detach()
    assert not bool((after.view(torch.int32) & ((1 << 17) - 1)).any())
    assert bool(((after - before).abs() <= before.abs() * 2**-7).all())
