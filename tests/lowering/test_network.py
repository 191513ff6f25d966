"""Engine and reference against the torch module over the whole published network, as DESIGN.md section 7 defines it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import cifar
from lowering_checks import runner
from netsuke import artifact
from netsuke.lowering import lower
from netsuke.lowering.trace import trace64

BATCH = 50


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_published_adabin_resnet20(count: int) -> None:
    """Where no bit differs from the float64 module, outputs agree within 1e-4 of the largest. No more images differ by
    over 1e-3 than differ between torch's own float32 and float64."""
    model = cifar.published("adabin_resnet20")
    images, _ = cifar.images_and_labels(count)
    batch = cifar.normalised(images)
    lowered = lower(model, batch[:1])
    reference = artifact.Reference(lowered.graph)
    output = lowered.graph.outputs[0].value
    engine = runner("engine", lowered.graph)
    torch32 = cifar.outputs(model, batch).numpy()

    flipped, ours, own = [], [], []
    for start in range(0, count, BATCH):
        part = batch[start : start + BATCH].numpy()
        true, made = trace64(lowered, part), reference.trace(part)
        bits = [v for v in true if true[v].dtype == np.int8]
        flipped.append(np.any([(true[v] != made[v]).reshape(len(part), -1).any(1) for v in bits], axis=0))
        expected = true[output].reshape(len(part), -1)
        scale = np.abs(expected).max(1)
        got = made[output].reshape(len(part), -1)
        np.testing.assert_array_equal(engine(part), got)
        ours.append(np.abs(got - expected).max(1) / scale)
        own.append(np.abs(torch32[start : start + BATCH] - expected).max(1) / scale)
    flips, errors, torch_errors = np.concatenate(flipped), np.concatenate(ours), np.concatenate(own)
    assert flips.mean() < 0.2, "too few images are left to compare"
    assert errors[~flips].max() < 1e-4
    assert (errors > 1e-3).sum() <= (torch_errors > 1e-3).sum()


def test_top1_equals_torch() -> None:
    """At least 995 of 1,000 images get the same class."""
    model = cifar.published("adabin_resnet20")
    images, _ = cifar.images_and_labels()
    batch = cifar.normalised(images)
    engine = runner("engine", lower(model, batch[:1]).graph)
    same = np.asarray(engine(batch.numpy())).argmax(1) == cifar.outputs(model, batch).argmax(1).numpy()
    assert same.mean() >= 0.995


def test_published_float_network() -> None:
    """No bit can flip: every output within 1e-4 of the largest."""
    model = cifar.published("resnet20")
    images, _ = cifar.images_and_labels(20)
    batch = cifar.normalised(images)
    expected = cifar.outputs(model.double(), batch.double()).numpy()
    got = np.asarray(runner("engine", lower(model.float(), batch[:1]).graph)(batch.numpy()))
    assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()
