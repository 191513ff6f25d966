"""Damaged files, the same ones for a seed: raw corruptions of a file, and ones whose checksum was made right again.

Nothing here uses the package's own writer: what it would refuse to write is what a reader must be shown.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

Case = tuple[str, bytes]  # what was done, the file


# ----------------------------------------------------------------------------------------------- taking apart
@dataclass(frozen=True)
class Parts:
    """A file in pieces, and how to put them together."""

    floats: bytes
    bits: bytes
    graph: bytes  # the tensor as it lies in the file, deflated or not

    @property
    def text(self) -> bytes:
        """The graph's JSON."""
        return self.graph if self.graph[:1] == b"{" else zlib.decompress(self.graph)

    def header(self, floats: int = 0, bits: int = 0, graph: int = 0) -> bytes:
        """The canonical header; the arguments are added to the sizes that it states."""
        a = len(self.floats) + floats
        b = a + len(self.bits) + bits
        c = b + len(self.graph) + graph
        return (
            b'{"__metadata__":{"netsuke":"1:%s"},'
            b'"bits":{"data_offsets":[%d,%d],"dtype":"U8","shape":[%d]},'
            b'"float32":{"data_offsets":[0,%d],"dtype":"F32","shape":[%d]},'
            b'"graph":{"data_offsets":[%d,%d],"dtype":"U8","shape":[%d]}}'
        ) % (b"0" * 64, a, b, b - a, a, a // 4, b, c, c - b)

    def file(self, header: bytes | None = None) -> bytes:
        """The file with a right checksum. A header other than the canonical one is taken as it is."""
        header = self.header() if header is None else header
        header += b" " * (-len(header) % 8)
        return redigest(struct.pack("<Q", len(header)) + header + self.floats + self.bits + self.graph)


def take_apart(data: bytes) -> Parts:
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    body = data[8 + length :]
    return Parts(*(body[slice(*header[name]["data_offsets"])] for name in ("float32", "bits", "graph")))


def redigest(data: bytes) -> bytes:
    """The file with its checksum made right, wherever it stands in the header."""
    place = re.search(rb'"netsuke":"[0-9]+:([0-9a-f]{64})"', data[:8192])
    if place is None:
        return data
    start, end = place.span(1)
    digest = hashlib.sha256(data[:start] + b"0" * 64 + data[end:]).hexdigest()
    return data[:start] + digest.encode() + data[end:]


# ----------------------------------------------------------------------------------------------- raw corruptions
def raw_corruptions(data: bytes, count: int, seed: int = 0) -> Iterator[Case]:
    """`count` files that differ from `data`, their checksum left as it was. Every one must be refused."""
    rng = random.Random(seed)
    fixed = wrong_kinds(data)
    for number in range(count):
        name, damaged = fixed[number] if number < len(fixed) else rng.choice(_RAW)(rng, data)
        while damaged == data:
            name, damaged = rng.choice(_RAW)(rng, data)
        yield f"{number}: {name}", damaged


def wrong_kinds(data: bytes) -> list[Case]:
    """Files that were never ours, or only nearly."""
    tensor = b'{"w":{"data_offsets":[0,4],"dtype":"F32","shape":[1]}}  '
    png = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de")
    (length,) = struct.unpack_from("<Q", data)
    return [
        ("empty", b""),
        ("one byte", b"\x00"),
        ("eight zeros", bytes(8)),
        ("only a length", data[:8]),
        ("png", png),
        ("pickle", b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s."),
        ("zip", b"PK\x03\x04" + bytes(60)),
        ("text", b"this is not a network\n" * 20),
        ("another safetensors", struct.pack("<Q", len(tensor)) + tensor + bytes(4)),
        ("length of all ones", b"\xff" * 8 + data[8:]),
        ("length beyond the file", struct.pack("<Q", len(data)) + data[8:]),
        ("length 0", bytes(8) + data[8:]),
        ("length one less", struct.pack("<Q", length - 1) + data[8:]),
        ("twice", data + data),
        ("reversed", data[::-1]),
    ]


def _truncate(rng: random.Random, data: bytes) -> Case:
    length = rng.choice([rng.randrange(len(data)), rng.randrange(min(400, len(data))), len(data) - rng.randint(1, 8)])
    return f"cut to {length} bytes", data[:length]


def _flip(rng: random.Random, data: bytes) -> Case:
    places = [rng.randrange(8 * len(data)) for _ in range(rng.choice([1, 1, 1, 2, 8]))]
    damaged = bytearray(data)
    for place in places:
        damaged[place >> 3] ^= 1 << (place & 7)
    return f"bits {places} flipped", bytes(damaged)


def _flip_early(rng: random.Random, data: bytes) -> Case:
    place = rng.randrange(8 * min(400, len(data)))
    damaged = bytearray(data)
    damaged[place >> 3] ^= 1 << (place & 7)
    return f"bit {place} flipped", bytes(damaged)


def _overwrite(rng: random.Random, data: bytes) -> Case:
    start, length = rng.randrange(len(data)), rng.randint(1, 64)
    fill = rng.choice([b"\x00", b"\xff", b" ", None])
    run = rng.randbytes(length) if fill is None else fill * length
    return f"{length} bytes at {start} overwritten", (data[:start] + run + data[start + length :])[: len(data)]


def _insert(rng: random.Random, data: bytes) -> Case:
    start, run = rng.randrange(len(data) + 1), rng.randbytes(rng.randint(1, 16))
    return f"{len(run)} bytes inserted at {start}", data[:start] + run + data[start:]


def _delete(rng: random.Random, data: bytes) -> Case:
    start, length = rng.randrange(len(data)), rng.randint(1, 16)
    return f"{length} bytes at {start} deleted", data[:start] + data[start + length :]


def _swap(rng: random.Random, data: bytes) -> Case:
    length = rng.choice([1, 4, 8, 64, 512])
    if len(data) < 2 * length:
        return _flip(rng, data)
    first, second = sorted(rng.randrange(len(data) // length) * length for _ in range(2))
    damaged = bytearray(data)
    damaged[first : first + length], damaged[second : second + length] = (
        data[second : second + length],
        data[first : first + length],
    )
    return f"blocks of {length} at {first} and {second} swapped", bytes(damaged)


def _minus_128(rng: random.Random, data: bytes) -> Case:
    """The one byte that is no 8-bit weight; among bits it is as good as another."""
    place = rng.randrange(len(data))
    return f"byte {place} is -128", data[:place] + b"\x80" + data[place + 1 :]


_RAW: list[Callable[[random.Random, bytes], Case]] = [
    _truncate,
    _flip,
    _flip_early,
    _overwrite,
    _insert,
    _delete,
    _swap,
]


# ----------------------------------------------------------------------------------------------- behind the checksum
def redigested_corruptions(data: bytes, count: int, seed: int = 0) -> Iterator[Case]:
    """`count` files made from `data`, each with a right checksum: refused, or a valid network."""
    rng = random.Random(seed)
    parts = take_apart(data)
    for number in range(count):
        name, damaged = rng.choice(_BEHIND)(rng, parts)
        yield f"{number}: {name}", damaged


def _stored(rng: random.Random, parts: Parts, text: bytes) -> bytes:
    """The file with another graph text, deflated at some level or plain."""
    level = rng.choice([0, 1, 9, None])
    return replace(parts, graph=text if level is None else zlib.compress(text, level)).file()


def _header_sizes(rng: random.Random, parts: Parts) -> Case:
    changes = {name: rng.choice([0, 0, -4, -1, 1, 4, 8, 10**9]) for name in ("floats", "bits", "graph")}
    changes = {name: max(change, -len(getattr(parts, name))) for name, change in changes.items()}
    return f"the header's sizes changed by {changes}", parts.file(parts.header(**changes))


def _header_text(rng: random.Random, parts: Parts) -> Case:
    header = parts.header()
    name, changed = rng.choice(
        [
            ("one space more", header + b" " * (8 + -len(header) % 8)),
            ("white space inside", header.replace(b'":[', b'": [', 1)),
            ("another metadata key", header.replace(b'{"netsuke"', b'{"a":"b","netsuke"')),
            ("another tensor", header[:-1] + b',"more":{"data_offsets":[0,0],"dtype":"U8","shape":[0]}}'),
            ("bits as I8", header.replace(b'"U8"', b'"I8"', 1)),
            ("float32 as F16", header.replace(b'"F32"', b'"F16"')),
            ("a shape of two axes", re.sub(rb'"shape":\[([0-9]+)\]', rb'"shape":[1,\1]', header, count=1)),
            ("a leading zero", header.replace(b"[0,", b"[00,")),
            ("format 2", header.replace(b'"1:', b'"2:')),
            ("format 0", header.replace(b'"1:', b'"0:')),
            ("format 01", header.replace(b'"1:', b'"01:')),
            ("upper case digits", header.replace(b"0" * 64, b"A" * 64)),
            ("keys in another order", b'{"float32"' + header[1:].replace(b'"float32"', b'"__metadata__"', 1)),
            ("a tab at the end", header + b"\t" * (-len(header) % 8 or 8)),
        ]
    )
    return f"header: {name}", parts.file(changed)


def _header_bytes(rng: random.Random, parts: Parts) -> Case:
    header = bytearray(parts.header())
    place = rng.randrange(len(header))
    header[place] = rng.choice([header[place] ^ 1 << rng.randrange(8), rng.randrange(32, 127)])
    return f"header byte {place}", parts.file(bytes(header))


_BOUNDARIES = [
    0,
    1,
    2,
    3,
    7,
    8,
    15,
    16,
    31,
    32,
    64,
    127,
    128,
    254,
    255,
    256,
    4096,
    65535,
    65536,
    1 << 22,
    (1 << 24) + 1,
]
_BOUNDARIES += [(1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, 1 << 64, 10**30]


def _integer_tokens(rng: random.Random, parts: Parts) -> Case:
    text = parts.text
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        place = rng.choice(list(re.finditer(rb"[0-9]+", text)))
        old = int(place[0])
        new = rng.choice([old + 1, old - 1, old * 2, old // 2, old + 8, rng.randrange(200), rng.choice(_BOUNDARIES)])
        text = text[: place.start()] + str(new).encode() + text[place.end() :]
    return "integers of the graph changed", _stored(rng, parts, text)


def _swap_tokens(rng: random.Random, parts: Parts) -> Case:
    """Two integers, or two strings, change places: valid JSON, another sense."""
    text, form = parts.text, rng.choice([rb"[0-9]+", rb'"[^"]*"', rb"\[[0-9,]*\]"])
    first, second = sorted(rng.sample(list(re.finditer(form, text)), 2), key=lambda place: place.start())
    a, b, c = text[: first.start()], text[first.end() : second.start()], text[second.end() :]
    return "two tokens of the graph swapped", _stored(rng, parts, a + second[0] + b + first[0] + c)


def _strings(rng: random.Random, parts: Parts) -> Case:
    text = parts.text
    place = rng.choice(list(re.finditer(rb'"([^"]*)"', text)))
    others = re.findall(rb'"([^"]*)"', text)
    new = rng.choice(
        [
            rng.choice(others),
            b"",
            b"x" * 201,
            b"x" * 200,
            b"\\u0041",
            b"\\n",
            b"\x00",
            b"\x7f",
            b"\xc3\xa9",
            b"conv3d",
            b"~ ",
        ]
    )
    return "a string of the graph changed", _stored(rng, parts, text[: place.start(1)] + new + text[place.end(1) :])


def _objects(rng: random.Random, parts: Parts) -> Case:
    """The parsed graph changed: a key or an item dropped, moved, doubled, or replaced by something of another type."""
    root = json.loads(parts.text)
    for _ in range(rng.choice([1, 1, 2])):
        boxes = list(_containers(root))
        box = rng.choice([box for box in boxes if box])
        key = rng.choice(list(box) if isinstance(box, dict) else range(len(box)))
        action = rng.choice(["drop", "replace", "double", "copy from another"])
        if action == "drop":
            del box[key]
        elif action == "replace":
            box[key] = rng.choice([0, 1, "", "store", [], {}, [0, 0], [[]], True, None, -1, 1.5, {"op": "store"}])
        elif action == "double":
            new = copy.deepcopy(box[key])
            box.update({f"{key}2": new}) if isinstance(box, dict) else box.insert(rng.randrange(len(box) + 1), new)
        else:
            other = rng.choice([other for other in boxes if other])
            value = rng.choice(list(other.values()) if isinstance(other, dict) else other)
            box[key] = copy.deepcopy(value)
    text = json.dumps(root, sort_keys=True, separators=(",", ":")).encode()
    return "the graph's objects changed", _stored(rng, parts, text)


def _containers(value: object) -> Iterator[dict | list]:
    if isinstance(value, dict | list):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from _containers(item)


def _text_form(rng: random.Random, parts: Parts) -> Case:
    text = parts.text
    name, changed = rng.choice(
        [
            ("a line end after it", text + b"\n"),
            ("a space before it", b" " + text),
            ("a byte order mark", b"\xef\xbb\xbf" + text),
            ("a null after it", text + b"\x00"),
            ("white space", text.replace(b",", b", ", 1)),
            ("a key twice", text.replace(b'{"op":"store"', b'{"op":"store","op":"store"', 1)),
            ("a minus sign", re.sub(rb'"bias":\[', rb'"bias":[-', text, count=1)),
            ("a fraction", re.sub(rb"\[([0-9]+),", rb"[\1.0,", text, count=1)),
            ("an exponent", re.sub(rb"\[([0-9]+),", rb"[\1e0,", text, count=1)),
            ("a leading zero", re.sub(rb"\[([0-9]+),", rb"[0\1,", text, count=1)),
            ("deep nesting", text.replace(b'"nodes":[', b'"nodes":' + b"[" * 50_000, 1)),
            ("deep nesting, closed", text.replace(b'"nodes":[', b'"nodes":[' + b"[" * 9 + b"]" * 9 + b",", 1)),
            ("an integer of 5000 digits", re.sub(rb"\[([0-9]+),", b"[" + b"9" * 5000 + b",", text, count=1)),
            ("a node 300 times", text.replace(b'"nodes":[', b'"nodes":[' + b"{}," * 300, 1)),
            ("nothing", b""),
            ("only a brace", b"{"),
            ("an empty object", b"{}"),
            ("true", b"true"),
            ("cut", text[: rng.randrange(len(text))]),
            (
                "keys reversed",
                json.dumps(json.loads(text), separators=(",", ":")).encode().replace(b'"rank"', b'"zank"'),
            ),
        ]
    )
    return f"graph text: {name}", _stored(rng, parts, changed)


def _text_bytes(rng: random.Random, parts: Parts) -> Case:
    action = rng.choice([_flip, _overwrite, _insert, _delete, _swap, _truncate])
    name, text = action(rng, parts.text)
    return f"graph text: {name}", _stored(rng, parts, text)


def _stream_bytes(rng: random.Random, parts: Parts) -> Case:
    """The deflated stream itself."""
    stream = zlib.compress(parts.text, rng.choice([0, 1, 6, 9]))
    name, stream = rng.choice([_flip, _flip_early, _overwrite, _insert, _delete, _swap, _truncate])(rng, stream)
    return f"deflate stream: {name}", replace(parts, graph=stream).file()


@functools.cache
def _bomb(start: bytes) -> bytes:
    """A small stream that inflates to more than any graph may have."""
    return zlib.compress(start + b"[" * (1 << 26), 9)


def _stream_form(rng: random.Random, parts: Parts) -> Case:
    text = parts.text
    stream = zlib.compress(text, 9)
    with_dictionary = zlib.compressobj(9, zdict=text[:100])
    raw, small_window, fixed = (
        zlib.compressobj(9, wbits=-15),
        zlib.compressobj(9, wbits=9),
        zlib.compressobj(strategy=4),
    )
    flushed = zlib.compressobj(9)
    middle = len(text) // 2
    name, changed = rng.choice(
        [
            ("a byte after it", stream + b"\x00"),
            ("twice", stream + stream),
            ("a preset dictionary", with_dictionary.compress(text) + with_dictionary.flush()),
            ("no zlib header", raw.compress(text) + raw.flush()),
            ("a window of 512", small_window.compress(text) + small_window.flush()),
            ("fixed codes", fixed.compress(text) + fixed.flush()),
            (
                "flushed in the middle",
                flushed.compress(text[:middle]) + flushed.flush(2) + flushed.compress(text[middle:]) + flushed.flush(),
            ),
            ("another checksum", stream[:-1] + bytes([stream[-1] ^ 1])),
            ("no checksum", stream[:-4]),
            ("gzip", zlib.compress(text, 9, 31)),
            ("a bomb", _bomb(b"")),
            ("a bomb of JSON", _bomb(text[:-1])),
            ("nothing deflated", zlib.compress(b"")),
            ("nothing", b""),
            ("stored blocks", zlib.compress(text, 0)),
        ]
    )
    return f"deflate stream: {name}", replace(parts, graph=changed).file()


_SPECIAL = [0x00000000, 0x80000000, 0x00000001, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001]


def _float_data(rng: random.Random, parts: Parts) -> Case:
    if not parts.floats:  # they are coded
        return _bits_data(rng, parts)
    data = bytearray(parts.floats)
    for _ in range(rng.choice([1, 1, 4, 64])):
        place = rng.randrange(len(data) // 4)
        number = rng.choice([rng.randrange(1 << 32), rng.randrange(1 << 32) & 0xBFFFFFFF, rng.choice(_SPECIAL)])
        struct.pack_into("<I", data, 4 * place, number)
    return "floats changed", replace(parts, floats=bytes(data)).file()


def _float_length(rng: random.Random, parts: Parts) -> Case:
    change = rng.choice([-8, -4, -2, -1, 1, 2, 4, 4096])
    data = parts.floats[:change] if change < 0 else parts.floats + bytes(change)
    return f"float32 has {change} bytes more", replace(parts, floats=data).file()


def _bits_data(rng: random.Random, parts: Parts) -> Case:
    action = rng.choice([_flip, _overwrite, _swap, _insert, _delete, _minus_128])
    name, data = action(rng, parts.bits)
    return f"bits: {name}", replace(parts, bits=data).file()


_BEHIND: list[Callable[[random.Random, Parts], Case]] = [
    _header_sizes,
    _header_text,
    _header_bytes,
    *[_integer_tokens] * 6,
    *[_swap_tokens] * 3,
    *[_strings] * 2,
    *[_objects] * 4,
    _text_form,
    *[_text_bytes] * 2,
    *[_stream_bytes] * 2,
    _stream_form,
    *[_float_data] * 3,
    _float_length,
    _bits_data,
]
