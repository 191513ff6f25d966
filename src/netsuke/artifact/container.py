"""The file (docs/format.md, section 1): a safetensors file in one canonical form, with one SHA-256 over all of it.

Nothing in a file is executed, and no length, offset or count in it is used before it was checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from netsuke.atomic import write

from . import canonical_json
from .contract import MAX_GRAPH_BYTES, MAX_HEADER_BYTES, MAX_INTEGER, SCHEMA_VERSION, Error
from .graph import Graph
from .pools import Pools
from .schema import from_json, to_json

_ZEROS = "0" * 64
_MAX_FILE_BYTES = 8 + MAX_HEADER_BYTES + MAX_INTEGER
_DAMAGED = "is damaged: {}. Copy or export it again."


# ----------------------------------------------------------------------------------------------- writing
def encode(graph: Graph) -> bytes:
    """The file of a graph. The same graph gives the same bytes.

    Raises:
        Error: the graph breaks a rule of docs/format.md section 3, or is too large for a file.
    """
    pools = Pools()
    root = to_json(graph, pools)
    return pack(*pools.finish(), root)


def pack(floats: bytes, bits: bytes, root: dict[str, Any]) -> bytes:
    """The file with these tensors `float32` and `bits`, and this object for a graph.

    Raises:
        Error: they are too large for a file.
    """
    text = canonical_json.dump(root)
    if len(text) > MAX_GRAPH_BYTES:
        raise Error(f"the graph's text has {len(text)} bytes, a file holds {MAX_GRAPH_BYTES}; use fewer nodes")
    tensors = [floats, bits, min(zlib.compress(text, 9), text, key=len)]
    if sum(map(len, tensors)) > MAX_INTEGER:
        raise Error(f"the model's data exceeds {MAX_INTEGER} bytes, the most that a file holds")
    sizes = [len(tensor) for tensor in tensors]
    data = b"".join(tensors)
    return _header(_digest(_header(_ZEROS, sizes) + data), sizes) + data


def save(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write the file of a graph. Another process sees the old file or the new one, never a part; nor after a crash.

    Raises:
        Error: as `encode`, or the file cannot be written. The file that was there is then unchanged.
    """
    write(path, encode(graph))


def _header(digest: str, sizes: list[int]) -> bytes:
    """The first bytes of a file whose tensors float32, bits, graph have these sizes in bytes."""
    floats, bits, graph = sizes
    entries = {
        "__metadata__": {"netsuke": f"{SCHEMA_VERSION}:{digest}"},
        "float32": {"data_offsets": [0, floats], "dtype": "F32", "shape": [floats // 4]},
        "bits": {"data_offsets": [floats, floats + bits], "dtype": "U8", "shape": [bits]},
        "graph": {"data_offsets": [floats + bits, floats + bits + graph], "dtype": "U8", "shape": [graph]},
    }
    text = canonical_json.dump(entries)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _digest(file_with_zeros: bytes) -> str:
    return hashlib.sha256(file_with_zeros).hexdigest()


# ----------------------------------------------------------------------------------------------- reading
def read(path: str | os.PathLike[str]) -> Graph:
    """The graph in a file.

    Raises:
        Error: there is no such file, it cannot be read, it is of another kind, or damaged.
    """
    return _decode(read_bytes(path), str(path))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of a file that should be a netsuke file; `decode` checks whether it is.

    Raises:
        Error: there is no such file, or it cannot be read.
    """
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise Error(f"{path} is a folder. Give the path of a .netsuke file.")
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device might never end
            raise Error(f"{path} is not a regular file. Give the path of a .netsuke file.")
        if status.st_size > _MAX_FILE_BYTES:
            raise Error(f"{path} is no netsuke file: it has {status.st_size} bytes. Give the path of a .netsuke file.")
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise Error(f"there is no file {path}. Check the path.") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise Error(f"cannot read {path}: {reason}. Check the path and its permissions.") from None


def decode(data: bytes) -> Graph:
    """The graph in the bytes of a file.

    Raises:
        Error: the bytes are not a netsuke file, or a damaged one.
    """
    return _decode(bytes(data), "the file")


def parts(data: bytes) -> tuple[dict[str, int], int]:
    """What the bytes of a file are for, by name, which sum to the file's; and how many float32 numbers it holds, coded
    ones included.

    Raises:
        Error: the bytes are not a netsuke file, or a damaged one.
    """
    sizes = _check_container(data, "the file")
    coded = canonical_json.parse(_inflate(data[len(data) - sizes[2] :])).get("coded", [])
    streams = {"floats": set[tuple[int, int]](), "weights": set[tuple[int, int]]()}  # equal ones are stored once
    numbers = sizes[0] // 4
    for entry in coded:
        streams["floats" if entry["kind"] == "floats" else "weights"].add(tuple(entry["stream"]))
        numbers += entry["count"] if entry["kind"] == "floats" else prod(entry["shape"]) * (entry["kind"] == "codebook")
    floats, weights = (sum(count for _, count in ranges) for ranges in streams.values())
    named = {"header": len(data) - sum(sizes), "float32": sizes[0], "bits": sizes[1] - floats - weights}
    return {**named, "coded_floats": floats, "coded_weights": weights, "graph": sizes[2]}, numbers


def _decode(data: bytes, name: str) -> Graph:
    floats, bits, root = unpack(data, name)
    if has_tables(root):
        raise Error(f"{name} holds embedding tables, no network. Open it with netsuke.load_embeddings.")
    with calling_it_damaged(name):
        return from_json(root, floats, bits)


def unpack(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray, Any]:
    """The tensors `float32` and `bits`, and what the graph's text says, of the bytes of a file called `name`.

    Raises:
        Error: the bytes are not a netsuke file, or a damaged one.
    """
    sizes = _check_container(data, name)
    with calling_it_damaged(name):
        start = len(data) - sum(sizes)
        floats = np.frombuffer(data, "<f4", sizes[0] // 4, start)
        bits = np.frombuffer(data, np.uint8, sizes[1], start + sizes[0])
        if not np.isfinite(floats).all():
            raise Error("a number in it is not finite")
        root = canonical_json.parse(_inflate(data[len(data) - sizes[2] :]))
        return floats.astype(np.float32, copy=False), bits, root


def has_tables(root: Any) -> bool:
    """Whether a graph's text is that of embedding tables (embeddings.py) and not of a network (schema.py)."""
    return isinstance(root, dict) and "tables" in root


@contextlib.contextmanager
def calling_it_damaged(name: str) -> Iterator[None]:
    """An Error inside says what is wrong with a file; outside it says of which, and what to do."""
    try:
        yield
    except Error as error:
        raise Error(f"{name} {_DAMAGED.format(error)}") from None


_HEADER_FORM = re.compile(
    rb'\{"__metadata__":\{"netsuke":"(?P<version>[0-9]{1,9}):(?P<digest>[0-9a-f]{64})"\},'
    rb'"bits":\{"data_offsets":\[[0-9]{1,10},[0-9]{1,10}\],"dtype":"U8","shape":\[(?P<bits>[0-9]{1,10})\]\},'
    rb'"float32":\{"data_offsets":\[0,(?P<floats>[0-9]{1,10})\],"dtype":"F32","shape":\[[0-9]{1,10}\]\},'
    rb'"graph":\{"data_offsets":\[[0-9]{1,10},[0-9]{1,10}\],"dtype":"U8","shape":\[(?P<graph>[0-9]{1,10})\]\}\} {0,7}'
)


def _check_container(data: bytes, name: str) -> list[int]:
    """Check all but the tensors' contents; return their sizes in bytes: float32, bits, graph."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > MAX_HEADER_BYTES or not data[8:].startswith(b'{"__metadata__":{"netsuke":"'):
        raise Error(f"{name} is not a netsuke file ({_kind(data)}). Make one with `netsuke export`.")
    header = data[8 : 8 + length]
    form = _HEADER_FORM.fullmatch(header)
    if form and int(form["version"]) > SCHEMA_VERSION:
        version = form["version"].decode()
        raise Error(f"{name} is of format {version}, this netsuke reads {SCHEMA_VERSION}. Upgrade netsuke.")
    if not form:
        raise Error(f"{name} {_DAMAGED.format('its header is not canonical')}")
    sizes = [int(form["floats"]), int(form["bits"]), int(form["graph"])]
    # The form does not tie the numbers to one another: the only right header with these sizes does.
    if sizes[0] % 4 or sum(sizes) > MAX_INTEGER or _header(form["digest"].decode(), sizes) != data[: 8 + length]:
        raise Error(f"{name} {_DAMAGED.format('the numbers in its header do not fit together')}")
    if 8 + length + sum(sizes) != len(data):
        reason = f"it has {len(data)} bytes, its header wants {8 + length + sum(sizes)}"
        raise Error(f"{name} {_DAMAGED.format(reason)}")
    start, end = (8 + place for place in form.span("digest"))
    if _digest(data[:start] + _ZEROS.encode() + data[end:]) != form["digest"].decode():
        raise Error(f"{name} {_DAMAGED.format('its checksum does not match')}")
    return sizes


def _inflate(tensor: bytes) -> bytes:
    """The graph's text."""
    if tensor[:1] == b"{":
        if len(tensor) > MAX_GRAPH_BYTES:
            raise Error(f"its graph has more than {MAX_GRAPH_BYTES} bytes")
        return tensor
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(tensor, MAX_GRAPH_BYTES + 1)
    except zlib.error:
        raise Error("its graph cannot be inflated") from None
    if len(text) > MAX_GRAPH_BYTES:
        raise Error(f"its graph has more than {MAX_GRAPH_BYTES} bytes")
    if not stream.eof or stream.unused_data:
        raise Error("its graph is cut off or has bytes after its end")
    return text


_KINDS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a zip archive, perhaps a PyTorch checkpoint",
    b"\x80": "a pickle, perhaps a PyTorch checkpoint",
    b"\x1f\x8b": "a gzip archive",
    b"\x7fELF": "a program",
    b"\x08": "perhaps an ONNX model",
}


def _kind(data: bytes) -> str:
    """What the bytes look like, for a message only."""
    if not data:
        return "it is empty"
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data):
        return "a safetensors file of another program"
    return next((f"it looks like {kind}" for start, kind in _KINDS.items() if data.startswith(start)), "unknown kind")
