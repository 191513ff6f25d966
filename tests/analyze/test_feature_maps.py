"""Feature maps are what the layers put out."""

from __future__ import annotations

import pytest
import torch

import netsuke
from netsuke import Error
from netsuke.analyze import feature_maps


def test_maps_of_layers_and_binarizers() -> None:
    model = netsuke.create_model("adabin_resnet20")
    image = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = feature_maps(model, image, ["layer2.0.conv1.binary_a", "conv1"])
    assert model.training
    assert list(found) == ["layer2.0.conv1.binary_a", "conv1"]
    with torch.no_grad():
        assert torch.equal(found["conv1"], model.get_submodule("conv1")(image[None])[0])
    assert found["layer2.0.conv1.binary_a"].shape == (16, 32, 32)
    assert len(found["layer2.0.conv1.binary_a"].unique()) == 2
    assert not any(m._forward_hooks for m in model.modules())


def test_errors() -> None:
    model, image = netsuke.create_model("resnet20"), torch.zeros(1, 3, 32, 32)
    with pytest.raises(Error, match=r"no layer 'layer1.conv'. Close to it: layer"):
        feature_maps(model, image, ["layer1.conv"])
    with pytest.raises(Error, match=r"'linear' puts out shape \(1, 10\)"):
        feature_maps(model, image, ["linear"])
