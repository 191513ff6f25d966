"""Detectors in the training loop, on small VOC-like sets made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image, ImageDraw
from torch import nn

import netsuke
from netsuke import Error, Preprocess
from netsuke.data import average_precision, detections, holdout, normalise, open_dataset, open_detection
from netsuke.models import get_model, load_weights
from netsuke.train import Output, Recipe, run
from netsuke.train.batches import annotation, label_tensor
from netsuke.train.tasks import MeanAveragePrecision, task_of
from voc_files import Thing, write_voc

torch.set_num_threads(1)

SIZE = (120, 90)


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The SPEC of a set of light and dark rectangles on grey."""
    root, random = tmp_path_factory.mktemp("squares"), np.random.RandomState(0)
    sets: dict[str, dict[str, list[Thing]]] = {"trainval": {}, "test": {}}
    for name, count in (("trainval", 8), ("test", 4)):
        for i in range(count):
            x, y, side = random.randint(5, 60), random.randint(5, 40), random.randint(25, 45)
            sets[name][f"{name}{i}"] = [Thing(("light", "dark")[i % 2], (x, y, x + side, y + side))]
    write_voc(root, sets, SIZE)
    for images in sets.values():
        for name, things in images.items():
            picture = Image.new("RGB", SIZE, (128, 128, 128))
            for thing in things:
                level = 250 if thing.name == "light" else 10
                ImageDraw.Draw(picture).rectangle([v - 1 for v in thing.box], fill=(level, level, level))
            picture.save(root / "JPEGImages" / f"{name}.jpg")
    return f"voc:{root}"


def recipe(epochs: int, **values: Any) -> Recipe:
    table = {
        "model": {"name": "adabin_ssd300_vgg16", "arguments": {"width": 0.125}},
        "epochs": epochs,
        "batch": 4,
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
        "augment": {"ssd": {"flips": "both", "expand": False}},
    }
    return Recipe.from_table({**table, **values})


def test_a_run_is_resumed_within_an_epoch(squares: str, tmp_path: Path) -> None:
    """Cut off after three of four steps, it ends with the weights of a run that was not; the loss falls."""
    whole = run(recipe(2), squares, Output(tmp_path / "whole"))

    class Stop(Exception):
        pass

    def stop(now: Any) -> None:
        if now.share >= 0.75:
            raise Stop

    with pytest.raises(Stop):
        run(recipe(2), squares, Output(tmp_path / "parts", checkpoint_steps=1), progress=stop)
    resumed = run(recipe(2), squares, Output(tmp_path / "parts", checkpoint_steps=1))
    first, second = (safetensors.torch.load_file(r["out"]) for r in (whole, resumed))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    header, *rows = (tmp_path / "whole" / "log.csv").read_text().splitlines()
    losses = [float(row.split(",")[header.split(",").index("loss")]) for row in rows]
    assert losses[1] < losses[0]
    assert 'labels = ["dark", "light"]' in (tmp_path / "whole" / "recipe.toml").read_text()


def test_held_out_images_are_scored_by_mean_average_precision(squares: str, tmp_path: Path) -> None:
    row = run(recipe(1, validation=2), squares, Output(tmp_path / "out"))
    model = load_weights(
        netsuke.create_model("adabin_ssd300_vgg16", 2, labels=["dark", "light"], width=0.125), row["out"]
    )
    preprocess = Preprocess(**get_model("adabin_ssd300_vgg16").preprocess)
    _, held_out = holdout(open_detection(squares, "train", preprocess), 2, 0)
    images, wanted = held_out.read(np.arange(2))
    with torch.no_grad():
        rows = model.eval()(torch.from_numpy(normalise(images, preprocess))).numpy()
    expected = average_precision([detections(image) for image in rows], wanted, held_out.classes).map
    assert row["validation_map"] == pytest.approx(100 * expected, abs=1e-3)
    assert "validation_accuracy" not in row
    header = (tmp_path / "out" / "log.csv").read_text().splitlines()[0]
    assert "validation_map" in header.split(",")


def test_labels_as_a_tensor_and_back(squares: str) -> None:
    data = open_detection(squares, "train")
    own = [data.annotations(i) for i in range(3)]
    own[1] = own[1].take(np.zeros(len(own[1].labels), bool))  # an image of background
    rows = label_tensor(own)
    assert rows.shape == (3, 1, 6)
    assert rows[1].tolist() == [[0, 0, 0, 0, -1, 0]]
    for image, expected in zip(rows.numpy(), own, strict=True):
        for made, there in zip(annotation(image), expected, strict=True):
            np.testing.assert_array_equal(made, there)


@pytest.mark.parametrize(
    ("spec", "values", "why"),
    [
        ("digits", {}, "not a detection set"),
        ("squares", {"model": {"name": "resnet20"}}, "holds boxes, not labels"),
        ("squares", {"model": {"name": "ssd300_vgg16", "arguments": {"labels": ["cat", "cow"]}}}, "cow"),
        ("squares", {"loss": {"kind": "soft"}, "teacher": [{"model": "resnet20", "weights": "x"}]}, "teacher is for"),
        ("squares", {"loss": {"label_smoothing": 0.1}}, "loss"),
        ("squares", {"augment": {"flip": True}}, "augment.flip"),
        ("squares", {"augment": {"random_resized_crop": {"size": 300}}}, "augment.random_resized_crop"),
        ("squares", {"augment": {"ssd": {"size": 512}}}, "augment.ssd.size"),
    ],
)
def test_what_does_not_fit_is_refused(
    squares: str, tmp_path: Path, spec: str, values: dict[str, Any], why: str
) -> None:
    with pytest.raises(Error, match=why):
        run(recipe(1, **values), squares if spec == "squares" else spec, Output(tmp_path / "out"))


def test_a_classifier_has_no_boxes_to_move() -> None:
    with pytest.raises(Error, match="augment.ssd moves boxes"):
        task_of(nn.Linear(64, 10), recipe(1), open_dataset("digits", "train"))


def test_the_shipped_recipes_name_models_and_augmentation() -> None:
    for name in ("bccd-ssd300", "adabin-bccd-ssd300", "voc0712-ssd300", "adabin-voc0712-ssd300"):
        chosen = netsuke.train.read_recipe(name)
        assert chosen.model.name.endswith("ssd300_vgg16")
        assert chosen.augment.ssd


def _seen(rank: int, images: int, folder: str) -> float:
    """What one of two processes computes that has seen every second image."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    metric = MeanAveragePrecision(["a", "b"])
    for i in range(rank, images, 2):
        metric.update(*_image(i))
    result = metric.compute()
    (Path(folder) / f"{rank}").write_text(repr(result))
    torch.distributed.destroy_process_group()
    return result


def _image(i: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and objects of an image, more objects the later it comes."""
    random = torch.Generator().manual_seed(i)
    start = torch.rand(i + 1, 2, generator=random) * 0.5
    objects = torch.cat(
        [start, start + 0.3, torch.randint(0, 2, (i + 1, 1), generator=random), torch.zeros(i + 1, 1)], 1
    )
    rows = torch.cat([objects[:, :4] + 0.05, torch.rand(i + 1, 1, generator=random), objects[:, 4:5]], 1)
    return rows[None], objects[None]


@pytest.mark.slow
def test_mean_average_precision_is_of_all_processes(tmp_path: Path) -> None:
    whole = MeanAveragePrecision(["a", "b"])
    for i in (0, 2, 4, 1, 3):
        whole.update(*_image(i))
    torch.multiprocessing.spawn(_seen, (5, str(tmp_path)), 2)
    assert {float((tmp_path / f"{rank}").read_text()) for rank in range(2)} == {whole.compute()}
    assert 0 < whole.compute() < 1
