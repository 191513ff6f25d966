"""Knowledge complexity: its formula by hand, what it rises with, what it does not depend on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netsuke import Error, Preprocess
from netsuke.analyze import TeacherScore, knowledge_complexity
from netsuke.data.dataset import ArrayDataset

CLASSES = 4
LABELS = torch.tensor([0, 1, 2, 3, 1, 2])


class Fixed(nn.Module):
    """Gives the label of an image (its first pixel) a probability of `sure`, the other classes the rest in equal parts,
    for the first `right` of them; for others it is sure of the next class. It has `parameters` parameters."""

    def __init__(self, sure: float, parameters: int, wrong: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.sure, self.wrong = sure, wrong
        self.weight = nn.Parameter(torch.zeros(parameters))

    def forward(self, x: Tensor) -> Tensor:
        label = x[:, 0, 0, 0].round().long()
        said = torch.tensor([(int(v) + (int(v) in self.wrong)) % CLASSES for v in label])
        probabilities = torch.full((len(x), CLASSES), (1 - self.sure) / (CLASSES - 1), dtype=torch.float64)
        probabilities[torch.arange(len(x)), said] = self.sure
        return probabilities.log() + 7  # a shift of all logits changes nothing


def batches(labels: Tensor = LABELS, size: int = 4) -> list[tuple[Tensor, Tensor]]:
    images = labels.view(-1, 1, 1, 1).expand(-1, 1, 2, 2).double()
    return list(zip(images.split(size), labels.split(size), strict=True))


def rank(teachers: dict[str, nn.Module], **settings: Any) -> dict[str, TeacherScore]:
    scores = knowledge_complexity(teachers, batches(), **settings)
    assert [s.complexity for s in scores] == sorted(s.complexity for s in scores)
    return {score.name: score for score in scores}


def test_the_formula_by_hand() -> None:
    (score,) = knowledge_complexity({"a": Fixed(0.7, 1000, frozenset({3}))}, batches(), price=0.25)
    # Five images have their label at 0.7, the one of class 3 has it at 0.1.
    entropy = -(5 * math.log(0.7) + math.log(0.1)) / 6
    assert score.cross_entropy == pytest.approx(entropy, abs=1e-12)
    assert score.complexity == pytest.approx(entropy / math.log(4) * 1000**0.25, abs=1e-12)
    assert score.top1 == pytest.approx(100 * 5 / 6)
    assert score.parameters == 1000


def test_it_rises_with_parameters_at_equal_usefulness() -> None:
    sizes = [10, 11, 1000, 10**6]
    scores = rank({str(p): Fixed(0.8, p) for p in sizes})
    complexity = [scores[str(p)].complexity for p in sizes]
    assert all(a < b for a, b in zip(complexity, complexity[1:], strict=False))


def test_it_falls_with_usefulness_at_equal_parameters() -> None:
    scores = rank({str(s): Fixed(s, 100) for s in (0.3, 0.5, 0.9, 0.99)})
    complexity = [scores[str(s)].complexity for s in (0.3, 0.5, 0.9, 0.99)]
    assert all(a > b for a, b in zip(complexity, complexity[1:], strict=False))


def test_being_sure_and_wrong_costs_more_than_being_unsure_and_wrong() -> None:
    scores = rank({"sure": Fixed(0.999, 100, frozenset({1, 2})), "unsure": Fixed(0.6, 100, frozenset({1, 2}))})
    assert scores["sure"].top1 == scores["unsure"].top1
    assert list(scores) == ["unsure", "sure"]


def test_twice_the_parameters_must_pay() -> None:
    """At price 0.1 the larger teacher is preferred iff its cross entropy is lower by more than 1 - 2^-0.1."""
    need = 1 - 2**-0.1
    small = Fixed(0.8, 500)
    for saved, winner in ((need + 0.01, "large"), (need - 0.01, "small")):
        entropy = -math.log(0.8) * (1 - saved)
        assert next(iter(rank({"small": small, "large": Fixed(math.exp(-entropy), 1000)}))) == winner


def test_the_ranking_has_no_unit() -> None:
    """Ratios stay when all teachers grow by one factor."""
    made = [(0.9, 400), (0.7, 100), (0.85, 200), (0.95, 3200)]
    one = rank({str(i): Fixed(s, p) for i, (s, p) in enumerate(made)})
    other = rank({str(i): Fixed(s, 50 * p) for i, (s, p) in enumerate(made)})
    assert list(one) == list(other)
    ratios = [other[name].complexity / one[name].complexity for name in one]
    assert ratios == pytest.approx([50**0.1] * 4)


def test_price_zero_ranks_by_cross_entropy_alone() -> None:
    scores = rank({"large": Fixed(0.91, 10**6), "small": Fixed(0.9, 10)}, price=0.0)
    assert list(scores) == ["large", "small"]


def test_guessing_scores_one_at_price_zero() -> None:
    assert rank({"a": Fixed(1 / CLASSES, 9)}, price=0.0)["a"].complexity == pytest.approx(1.0)


def test_batches_of_any_size_and_data_sets_give_the_same() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, CLASSES)).double()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 1, 2, 2), np.uint8)
    labels = np.random.default_rng(1).integers(0, CLASSES, 30)
    data = ArrayDataset("noise", ("a", "b", "c", "d"), pixels, labels)
    preprocess = Preprocess((0.5,), (0.25,))
    x = (torch.from_numpy(pixels).double() / 255 - 0.5) / 0.25
    y = torch.from_numpy(labels)
    whole = knowledge_complexity({"a": network}, [(x, y)])
    parts = knowledge_complexity({"a": network}, list(zip(x.split(7), y.split(7), strict=True)))
    assert whole[0].complexity == pytest.approx(parts[0].complexity, rel=1e-12)
    from_set = knowledge_complexity({"a": network.float()}, data, preprocess)
    assert from_set[0].complexity == pytest.approx(whole[0].complexity, rel=1e-5)
    with pytest.raises(Error, match="give preprocess"):
        knowledge_complexity({"a": network}, data)


def test_teachers_run_in_eval_mode_and_are_left_as_they_were() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4, CLASSES)).double()
    network[0].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    scores = [knowledge_complexity({"a": network}, batches())[0] for _ in range(2)]
    assert scores[0] == scores[1]
    assert [m.training for m in network] == [False, True, True, True]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("teachers", "data", "settings", "says"),
    [
        ({}, batches(), {}, "none is given"),
        ({"a": Fixed(0.5, 3)}, [], {}, "data are empty"),
        ({"a": Fixed(0.5, 3)}, batches(), {"price": -0.1}, "at least 0"),
        ({"a": Fixed(math.nan, 3)}, batches(), {}, "not finite"),
        ({"a": Fixed(0.5, 3)}, [(batches()[0][0], LABELS[:4] + 3)], {}, "knows 4 classes, and there is a label 6"),
    ],
)
def test_what_cannot_be_ranked_is_refused(teachers: Any, data: Any, settings: Any, says: str) -> None:
    with pytest.raises(Error, match=says):
        knowledge_complexity(teachers, data, **settings)
