"""Deep Compression's `.net` files: a writer after the format's description, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from netsuke import Error
from netsuke.models import create_model, load_weights

PUBLISHED = Path(__file__).resolve().parents[3] / "shared/models/squeezenet_deep_compression/compressed_SqueezeNet.net"


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(7, 5))


def nibbles(numbers: list[int]) -> bytes:
    padded = [*numbers, *([0] * (len(numbers) % 2))]
    return bytes(low | high << 4 for low, high in zip(padded[::2], padded[1::2], strict=True))


def written(layers: list[tuple[np.ndarray, np.ndarray, np.ndarray, int]]) -> bytes:
    """layers: (codes in order, codebook, bias, bits)."""
    heads, bodies = [], []
    for codes, codebook, bias, bits in layers:
        gaps, kept, last = [], [], -1
        for place in np.flatnonzero(codes):
            while place - last > 16:
                last += 16
                gaps.append(15)
                kept.append(0)
            gaps.append(int(place) - last - 1)
            kept.append(int(codes[place]))
            last = int(place)
        heads.append(np.uint32(len(gaps)).tobytes())
        stream = bytes(kept) if bits == 8 else nibbles(kept)
        bodies.append(codebook.astype("<f4").tobytes() + bias.astype("<f4").tobytes() + stream + nibbles(gaps))
    return b"".join(heads + bodies)


def layer(shape: tuple[int, ...], bits: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    random = np.random.RandomState(seed)
    codes = random.randint(1, 1 << bits, np.prod(shape)) * (random.rand(int(np.prod(shape))) < 0.08)
    codebook = np.append(0.0, random.standard_normal((1 << bits) - 1))
    return codes, codebook, random.standard_normal(shape[0]), bits


LAYERS = [layer((3, 2, 3, 3), 8, 0), layer((5, 7), 4, 1)]


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "small.net"
    path.write_bytes(written(LAYERS))
    model = load_weights(small(), path)
    for own, (codes, codebook, bias, _) in zip((model[0], model[2]), LAYERS, strict=True):
        expected = codebook.astype(np.float32)[codes].reshape(own.weight.shape)
        assert np.array_equal(own.weight.detach().numpy(), expected)
        assert np.array_equal(own.bias.detach().numpy(), bias.astype(np.float32))


def test_odd_and_empty_layers(tmp_path: Path) -> None:
    codes = np.zeros(54, int)
    codes[[3, 4, 40]] = 7, 8, 9
    path = tmp_path / "odd.net"
    path.write_bytes(written([(codes, *LAYERS[0][1:]), (np.zeros(35, int), *LAYERS[1][1:])]))
    model = load_weights(small(), path)
    assert torch.count_nonzero(model[0].weight) == 3
    assert torch.count_nonzero(model[2].weight) == 0


@pytest.mark.parametrize("cut", [1, 9, 200])
def test_cut_and_longer_files_are_refused(tmp_path: Path, cut: int) -> None:
    path, data = tmp_path / "bad.net", written(LAYERS)
    path.write_bytes(data[:-cut])
    with pytest.raises(Error, match="cut off, or of another network"):
        load_weights(small(), path)
    path.write_bytes(data + bytes(cut))
    with pytest.raises(Error, match="left over"):
        load_weights(small(), path)


def test_impossible_entries_are_refused(tmp_path: Path) -> None:
    path, data = tmp_path / "bad.net", written(LAYERS)
    path.write_bytes(np.uint32(1 << 31).tobytes() + data[4:])
    with pytest.raises(Error, match="has 54 weights, not 2147483648 entries"):
        load_weights(small(), path)
    codes = np.ones(54, int)
    wide = bytearray(written([(codes, *LAYERS[0][1:]), LAYERS[1]]))
    gaps = 8 + 4 * 256 + 4 * 3 + 54
    wide[gaps] = 255
    path.write_bytes(bytes(wide))
    with pytest.raises(Error, match="lie behind its 54 weights"):
        load_weights(small(), path)
    with pytest.raises(Error, match="cannot be read"):
        load_weights(small(), tmp_path / "none.net")


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="needs ../shared/models")
def test_the_published_squeezenet() -> None:
    model = load_weights(create_model("squeezenet1_0"), PUBLISHED)
    weights = [m.weight.detach() for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert sum(w.numel() for w in weights) == 1_244_448
    assert sum(int(torch.count_nonzero(w)) for w in weights) == 415_921  # without fillers
