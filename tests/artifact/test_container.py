"""The file: what others see in it, that it is the same for the same graph, and what is said of other files."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given

import corruption
import graphs
from netsuke.artifact import Error, Graph, Reference, decode, encode, read, save
from netsuke.artifact.graph import Affine, Store, TwoSlope

GRAPHS = {"every operator": graphs.every_operator, "residual network": graphs.residual_network, "coded": graphs.coded}


@pytest.fixture(params=GRAPHS)
def graph(request: pytest.FixtureRequest) -> Graph:
    return GRAPHS[request.param]()


# ----------------------------------------------------------------------------------------------- round trips
@given(graphs.graphs())
def test_round_trip(graph: Graph) -> None:
    """The same network comes back: it gives the same bytes, and the same bits on an input."""
    data = encode(graph)
    back = decode(data)
    assert encode(back) == data
    images = graphs.images(np.random.default_rng(0), "normal", 2, graph.input_shape)
    graphs.assert_same_bits(Reference(back)(images), Reference(graph)(images))


def test_arrays_of_every_kind_are_coded_where_it_wins_an_eighth() -> None:
    parts = corruption.take_apart(encode(graphs.coded()))
    entries = json.loads(parts.text)["coded"]
    assert [entry["kind"] for entry in entries] == ["floats", "codebook", "bits", "int8", "int4", "int8_codebook"]
    assert parts.floats == b""
    plain = [4 * entries[0]["count"], 4 * 24 * 9 * 16, 16 * 9 * 24 // 8, 24 * 9 * 24, 24 * 40 // 2, 24 * 9 * 24]
    assert all(entry["stream"][1] < size * 7 / 8 for entry, size in zip(entries, plain, strict=True))


def test_random_weights_are_not_coded() -> None:
    entries = json.loads(corruption.take_apart(encode(graphs.residual_network())).text)["coded"]
    assert [entry["kind"] for entry in entries] == ["floats"]


def test_every_field_comes_back(graph: Graph) -> None:
    back = decode(encode(graph))
    assert (back.model, back.input_shape, back.outputs) == (graph.model, graph.input_shape, graph.outputs)
    assert (graph.transform is None) == (back.transform is None)
    transforms = [[g.transform] if g.transform else [] for g in (graph, back)]
    for one, other in zip([*transforms[0], *graph.nodes], [*transforms[1], *back.nodes], strict=True):
        compare(one, other)


def compare(one: object, other: object) -> None:
    assert type(one) is type(other)
    for name, value in vars(one).items():
        found = getattr(other, name)
        if name == "epilogue":
            for step, found_step in zip(value, found, strict=True):
                compare(step, found_step)
        elif isinstance(value, np.ndarray):
            assert found.dtype == value.dtype
            np.testing.assert_array_equal(found, value)
        elif isinstance(value, list) and isinstance(value[0], np.ndarray):
            assert [array.dtype for array in found] == [array.dtype for array in value]
            assert all(map(np.array_equal, found, value)), name
        else:
            assert found == (float(np.float32(value)) if isinstance(value, float) else value), name


def test_the_same_graph_gives_the_same_bytes(graph: Graph) -> None:
    assert encode(graph) == encode(decode(encode(graph))) == encode(graph)


def test_minus_zero_is_kept() -> None:
    graph = graphs.every_operator()
    graph.nodes[0].bias = np.array([-0.0] * 6, np.float32)
    assert np.signbit(decode(encode(graph)).nodes[0].bias).all()


# ----------------------------------------------------------------------------------------------- the form
def test_safetensors_sees_the_same_tensors(graph: Graph, tmp_path: Path) -> None:
    save(graph, tmp_path / "a.netsuke")
    parts = corruption.take_apart((tmp_path / "a.netsuke").read_bytes())
    found = safetensors.numpy.load_file(tmp_path / "a.netsuke")
    assert sorted(found) == ["bits", "float32", "graph"]
    assert found["float32"].tobytes() == parts.floats
    assert found["bits"].tobytes() == parts.bits
    assert found["graph"].tobytes() == parts.graph
    assert found["float32"].dtype == np.float32
    with safetensors.safe_open(tmp_path / "a.netsuke", "numpy") as file:
        assert list(file.metadata()) == ["netsuke"]


def test_the_header_is_the_one_of_the_format(graph: Graph) -> None:
    data = encode(graph)
    (length,) = struct.unpack_from("<Q", data)
    header = data[8 : 8 + length]
    parts = corruption.take_apart(data)
    digest = json.loads(header)["__metadata__"]["netsuke"]
    assert header == parts.header().replace(b"1:" + b"0" * 64, digest.encode()).ljust(length)
    assert length % 8 == 0
    assert hashlib.sha256(data.replace(digest.encode(), b"1:" + b"0" * 64)).hexdigest() == digest[2:]


def test_the_shorter_form_of_the_graph_is_kept() -> None:
    assert zlib.decompress(corruption.take_apart(encode(graphs.every_operator())).graph)[:1] == b"{"
    assert corruption.take_apart(encode(graphs.residual_network())).graph[:1] != b"{"


def test_a_graph_that_is_not_deflated_is_read(graph: Graph) -> None:
    data = encode(graph)
    plain = corruption.replace(corruption.take_apart(data), graph=corruption.take_apart(data).text).file()
    assert len(plain) > len(data)
    assert encode(decode(plain)) == data


def test_equal_arrays_are_stored_once() -> None:
    graph = graphs.every_operator()
    before = len(encode(graph))
    slope = TwoSlope(graph.nodes[0].bias.copy(), graph.nodes[0].bias.copy())
    graph.nodes[0].epilogue.insert(0, slope)
    assert len(corruption.take_apart(encode(graph)).floats) == len(
        corruption.take_apart(encode(graphs.every_operator())).floats
    )
    assert len(encode(graph)) < before + 60


def test_zeros_need_no_room() -> None:
    graph = graphs.every_operator()
    before = len(corruption.take_apart(encode(graph)).floats)
    graph.nodes[0].bias[:] = 0
    graph.nodes[1].bias[:] = 0
    graph.nodes[1].beta_w[:] = 0
    assert len(corruption.take_apart(encode(graph)).floats) == before - 4 * 18


def test_sharing_stays_within_what_readers_allow() -> None:
    """More equal arrays than may be shared: the writer repeats some of them."""
    channels = 1 << 16
    noise = np.random.default_rng(0).integers(0, 1 << 32, (2, channels), np.uint32) & np.uint32(0xBFFFFFFF)  # not coded
    scale, shift = noise.view(np.float32)
    graph = graphs.float_graph((channels, 1, 1), graphs.Identity("all", [0], [Affine(scale, shift)] * 40 + [Store(1)]))
    data = encode(graph)
    assert len(corruption.take_apart(data).floats) == 4 * (2 * 40 * channels - (1 << 22))
    assert encode(decode(data)) == data


def test_a_file_of_no_floats_and_no_bits() -> None:
    graph = graphs.float_graph((2, 3, 3), graphs.MaxPool("pool", [0], [Store(1)], kernel=(2, 2), stride=(1, 1)))
    data = encode(graph)
    assert corruption.take_apart(data).floats == corruption.take_apart(data).bits == b""
    assert len(safetensors.numpy.load(data)) == 3
    assert decode(data) == graph


# ----------------------------------------------------------------------------------------------- other files
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "it looks like a PNG image"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "it looks like a JPEG image"),
        (b"PK\x03\x04" + bytes(100), "it looks like a zip archive, perhaps a PyTorch checkpoint"),
        (b"\x80\x04\x95" + bytes(100), "it looks like a pickle, perhaps a PyTorch checkpoint"),
        (b"hello, world\n" * 9, "unknown kind"),
        (safetensors.numpy.save({"w": np.ones(3, np.float32)}), "a safetensors file of another program"),
        (bytes(7), "unknown kind"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.netsuke"
    path.write_bytes(content)
    with pytest.raises(Error) as caught:
        read(path)
    assert str(caught.value) == f"{path} is not a netsuke file ({words}). Make one with `netsuke export`."


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "a.netsuke"
    data = bytearray(encode(graphs.every_operator()))
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Error) as caught:
        read(path)
    assert str(caught.value) == f"{path} is damaged: its checksum does not match. Copy or export it again."


def test_a_file_of_a_later_format(tmp_path: Path) -> None:
    parts = corruption.take_apart(encode(graphs.every_operator()))
    (tmp_path / "a").write_bytes(parts.file(parts.header().replace(b'"1:', b'"12:')))
    with pytest.raises(Error, match="of format 12, this netsuke reads 1. Upgrade"):
        read(tmp_path / "a")


def test_paths_that_are_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    for path, words in {
        "nowhere": "there is no file nowhere. Check the path.",
        "dangling": "there is no file dangling.",
        "loop": "cannot read loop: Too many levels of symbolic links",
        ".": ". is a folder",
        "pipe": "pipe is not a regular file",
        "/dev/zero": "/dev/zero is not a regular file",
        "nowhere/at/all": "there is no file",
        "a\0b": "cannot read",
        "x" * 5000: "cannot read",
        "": "there is no file",
    }.items():
        with pytest.raises(Error) as caught:
            read(path)
        assert words in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    save(graphs.every_operator(), tmp_path / "a")
    (tmp_path / "a").chmod(0)
    with pytest.raises(Error, match="Permission denied.*Check the path and its permissions"):
        read(tmp_path / "a")


def test_a_file_whose_reading_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(graphs.every_operator(), tmp_path / "a")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(Error, match="cannot read .*a: Permission denied. Check the path and its permissions"):
        read(tmp_path / "a")


def test_a_file_larger_than_any(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Error, match="no netsuke file: it has 1099511627776 bytes"):
        read(tmp_path / "sparse")


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    save(graphs.every_operator(), tmp_path / "a")
    (tmp_path / "link").symlink_to("a")
    assert encode(read(tmp_path / "link")) == encode(read(str(tmp_path / "a")))
