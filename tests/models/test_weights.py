"""Reading checkpoints: every layout people have, and clear errors for those that do not fit or are damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import netsuke
from netsuke import Error
from netsuke.models import load_weights


def source() -> nn.Module:
    return netsuke.create_model("adabin_resnet20", seed=3)


def fresh() -> nn.Module:
    return netsuke.create_model("adabin_resnet20")


def same(a: nn.Module, b: nn.Module) -> bool:
    theirs = b.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in a.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("nest", ["", "state_dict", "model"])
def test_torch_layouts(tmp_path: Path, prefix: str, nest: str) -> None:
    state = {prefix + name: tensor for name, tensor in source().state_dict().items()}
    torch.save({nest: state, "best_prec1": 88.0} if nest else state, tmp_path / "w.pt")
    model = fresh()
    assert load_weights(model, tmp_path / "w.pt") is model
    assert same(model, source())


def test_safetensors(tmp_path: Path) -> None:
    save_file(source().state_dict(), tmp_path / "w.safetensors")
    assert same(load_weights(fresh(), str(tmp_path / "w.safetensors")), source())


def test_old_checkpoints_lack_the_batch_counter(tmp_path: Path) -> None:
    state = {k: v for k, v in source().state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "w.pt")
    assert same(load_weights(fresh(), tmp_path / "w.pt"), source())


def test_published_imagenet_checkpoints_hold_layers_that_never_run(tmp_path: Path) -> None:
    model = netsuke.create_model("adabin_resnet18_imagenet", seed=2)
    extra = {
        "nonlinear2.neg_scale": torch.ones(512),
        "nonlinear2.pos_scale": torch.ones(512),
        "bn3.bias": torch.ones(9),
    }
    torch.save({"state_dict": {**model.state_dict(), **extra}}, tmp_path / "w.pt")
    assert same(load_weights(netsuke.create_model("adabin_resnet18_imagenet"), tmp_path / "w.pt"), model)


def refused(path: Path) -> str:
    model = fresh()
    with pytest.raises(Error) as caught:
        load_weights(model, path)
    assert same(model, fresh()), "a refused checkpoint changed the model"
    message = str(caught.value)
    assert str(path) in message
    assert len(message.splitlines()) <= 2
    return message


def test_missing_unknown_and_misshaped_tensors_are_named(tmp_path: Path) -> None:
    state = source().state_dict()
    del state["conv1.weight"]
    state["surprise"] = torch.zeros(1)
    state["linear.bias"] = torch.zeros(7)
    torch.save(state, tmp_path / "w.pt")
    message = refused(tmp_path / "w.pt")
    assert len(message.replace(str(tmp_path), "")) < 200
    assert "conv1.weight" in message
    assert "surprise" in message
    assert "linear.bias is (7,) in the file and (10,) in the model" in message


def test_long_lists_are_cut_short(tmp_path: Path) -> None:
    torch.save(netsuke.create_model("resnet20").state_dict(), tmp_path / "w.pt")
    message = refused(tmp_path / "w.pt")
    assert "more" in message
    assert len(message.replace(str(tmp_path), "")) < 200


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".netsuke"])
def test_an_exported_file_is_no_checkpoint(tmp_path: Path, suffix: str) -> None:
    path = netsuke.export(nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 4, 4), tmp_path / f"a{suffix}")
    assert "exported netsuke file" in refused(path)


def test_nothing_of_torch_own_text_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"\x89PNG\r\n" * 9)
    message = refused(tmp_path / "w.pt")
    assert "torch.load" not in message
    assert "no checkpoint" in message


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = source().state_dict()
    state["bn1.weight"] = torch.full((16,), float("nan"))
    torch.save(state, tmp_path / "w.pt")
    assert "bn1.weight" in refused(tmp_path / "w.pt")


class Runs:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_checkpoint_runs(tmp_path: Path) -> None:
    torch.save({"state_dict": Runs(tmp_path / "ran")}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pt", ".th", ".safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "flipped", "directory", "absent"])
def test_damaged_files(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"w{suffix}"
    if damage == "directory":
        path.mkdir()
    elif damage != "absent":
        good = tmp_path / f"good{suffix}"
        save_file(source().state_dict(), good) if suffix == ".safetensors" else torch.save(source().state_dict(), good)
        data = bytearray(good.read_bytes())
        data[:64] = bytes(255 - b for b in data[:64])
        whole = good.read_bytes()
        path.write_bytes(
            {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"hello there\n" * 9, "flipped": bytes(data)}[
                damage
            ]
        )
    refused(path)


@pytest.mark.parametrize(
    "content", [[1, 2], {}, {"a": 3}, {"state_dict": {"conv1.weight": "x"}}, torch.zeros(2), {1: 2}]
)
def test_other_contents_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    refused(tmp_path / "w.pt")
