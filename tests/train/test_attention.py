"""Attention matching by hand, and its recipes. Its pull in training is in test_loop.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import netsuke
from netsuke import Error
from netsuke.lowering import lower
from netsuke.train import Recipe
from netsuke.train.attention import Watch, attention_map, attention_matching

LAYERS = {"attention": {"weight": 10.0, "layers": ["2"], "teacher_layers": ["2"]}}


def test_the_map_by_hand() -> None:
    """One image of two channels and two pixels: squares 1 + 9 and 0 + 4, halved, over the larger."""
    x = torch.tensor([[[[1.0, 0.0]], [[-3.0, 2.0]]]])
    torch.testing.assert_close(attention_map(x), torch.tensor([[[1.0, 0.4]]]))
    assert attention_map(torch.zeros(2, 3, 2, 2)).tolist() == torch.zeros(2, 2, 2).tolist()


def test_the_loss_by_hand() -> None:
    """Two layers, of other channels than the teacher's."""
    student = [torch.tensor([[[[1.0, 2.0]]]], requires_grad=True), torch.ones(1, 1, 1, 1)]
    teacher = [torch.tensor([[[[3.0, 0.0]], [[0.0, 0.0]]]], requires_grad=True), torch.ones(1, 4, 1, 1)]
    loss = attention_matching(student, teacher)  # (1/4 - 1)^2, (1 - 0)^2 on two pixels; no difference
    torch.testing.assert_close(loss, torch.tensor(((0.75**2 + 1) / 2 + 0) / 2))
    loss.backward()
    assert student[0].grad is not None
    assert teacher[0].grad is None


@pytest.mark.parametrize(
    ("student", "teacher", "says"),
    [
        ([], [], "0 layers of the student"),
        ([(1, 2, 3, 3)], [(1, 2, 3, 4)], "one height and width"),
        ([(1, 2, 3, 3)], [(1, 2)], "one height and width"),
        ([(1, 2, 3, 3)] * 2, [(1, 2, 3, 3)], "2 layers of the student and 1 of the teacher"),
    ],
)
def test_maps_that_do_not_fit(student: list[Any], teacher: list[Any], says: str) -> None:
    with pytest.raises(Error, match=says):
        attention_matching([torch.ones(s) for s in student], [torch.ones(s) for s in teacher])


def test_layers_that_are_not_there_or_do_not_run() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    with pytest.raises(Error, match="Sequential has no layer 'layer1'"):
        Watch(model, ["layer1"])
    with Watch(model, ["2"]) as watch:
        with pytest.raises(Error, match="'2' did not run"):
            watch.take()
        model(torch.randn(2, 1, 6, 6))
        assert [made.shape for made in watch.take()] == [(2, 8, 2, 2)]
        with pytest.raises(Error, match="'2' did not run"):
            watch.take()
    assert not model[2]._forward_hooks  # type: ignore[index]


def test_stages_of_real_to_binary_hand_their_weights_on() -> None:
    """Stage 1 (tanh), 2 (signs of activations) and 3 (all signs) have the same parameters, and differ in what they
    make of them; what is not finished is not exported."""
    arguments: dict[str, Any] = {"num_classes": 3, "width": 0.25}
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    models = [netsuke.create_model("real_to_binary_resnet18", stage=stage, **arguments).eval() for stage in (1, 2, 3)]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    made = [model(x) for model in models]
    assert not torch.equal(made[0], made[1])
    assert not torch.equal(made[1], made[2])
    assert netsuke.nn.binarize_weights(models[1]) == 16
    assert torch.equal(models[1](x), made[2])
    with pytest.raises(Error, match=r"tanh\(x\), as in stage 1 of 3"):
        lower(models[0], x)
    with pytest.raises(Error, match="stage is 4"):
        netsuke.create_model("real_to_binary_resnet18", stage=4)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"attention": {"weight": 1.0}}, "attention needs a weight above 0, layers and teacher_layers"),
        ({"attention": {"layers": ["a"], "teacher_layers": ["a"]}}, "attention needs a weight above 0, layers"),
        ({"attention": {"weight": 1.0, "layers": ["a"]}}, "1 layers and 0 teacher_layers: they are pairs"),
        (LAYERS, "one teacher that sees each batch"),
        ({**LAYERS, "augment": {"views": 2}, "loss": {"kind": "soft"}, "teacher": [{"model": "x"}]}, "augment.views"),
    ],
)
def test_recipes_that_make_no_sense(values: dict[str, Any], says: str) -> None:
    with pytest.raises(Error, match=says):
        Recipe.from_table({"model": {"name": "x"}, "epochs": 2, **values})
