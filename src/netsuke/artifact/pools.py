"""The two tensors that a graph's arrays lie in, and the coded ones among them (docs/format.md, section 3).

A writer gathers the arrays, and codes those that become smaller by it. A reader decodes them first: then every array is
a range of a tensor, whether it was coded or not.
"""

from __future__ import annotations

from math import prod
from reprlib import repr as shorten
from typing import Any

import numpy as np

from . import coding
from .contract import MAX_CHANNELS, MAX_EXTENT, MAX_NODES, MAX_PACKED, MAX_SHARED, Error

FLOATS = ("codebook", "floats")  # kinds of arrays of the float32 tensor
INTEGERS = {"bits": 1, "int4": 4, "int8": 8, "int8_codebook": 8}  # of the bits tensor, with the bits of a number


# ----------------------------------------------------------------------------------------------- writing
class Pool:
    """A tensor under construction: arrays one after another, an array that was there before only once."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._places: dict[bytes, int] = {}
        self._shared = 0

    def add(self, array: np.ndarray) -> list[int]:
        """Its `[offset, n]`, in elements."""
        data = array.tobytes()
        if data in self._places and self._shared + array.size <= MAX_SHARED:
            self._shared += array.size
        else:
            self._places[data] = len(self.data) // array.itemsize
            self.data += data
        return [self._places[data], array.size]


class Pools:
    """Both tensors of a file under construction. What its methods return is a range once `finish` has run."""

    def __init__(self) -> None:
        self.coded: list[dict[str, Any]] = []
        self._floats, self._bits = Pool(), Pool()
        self._decoded: list[tuple[list[int], int, bool]] = []  # range, elements, whether of float32

    def floats(self, array: np.ndarray) -> list[int]:
        """`F[n]` of a float32 array."""
        return self._floats.add(array)

    def weight(self, weight: np.ndarray) -> list[int]:
        """`F[n]` of a float32 weight (O, kh, kw, C): coded where it has few distinct values."""
        if not has_few_values(weight):
            return self.floats(weight)
        values = np.unique(weight.reshape(-1).view(np.uint32)).view(np.float32)
        values = values[np.lexsort((np.signbit(values) == 0, values))]  # -0.0 before 0.0
        zero = int(np.abs(values).argmin())
        order = {bits: level - zero for level, bits in enumerate(values.view(np.uint32).tolist())}
        known, places = np.unique(weight.reshape(-1).view(np.uint32), return_inverse=True)
        levels = np.array([order[bits] for bits in known.tolist()], np.int16)[places].reshape(weight.shape)
        stream = coding.encode(levels, -zero, len(values) - 1 - zero)
        if not _is_worth(len(stream) + values.nbytes, weight.nbytes, weight.size):
            return self.floats(weight)
        codebook = self.floats(values)
        return self._add_coded({"kind": "codebook", "codebook": codebook, "zero": zero}, weight, stream)

    def integers(self, weight: np.ndarray, kind: str) -> list[int]:
        """`B[n]` of a weight (O, kh, kw, C) of whole numbers: -1 and 1 of the kind "bits", else int8."""
        packed = pack(weight, kind)
        levels = (weight > 0).astype(np.int16) if kind == "bits" else weight.astype(np.int16)
        least, most = min(0, int(levels.min())), max(0, int(levels.max()))
        if kind == "bits":
            least, most = 0, 1
        stream = coding.encode(levels, least, most)
        if not _is_worth(len(stream), len(packed), weight.size):
            return self._bits.add(packed)
        own: dict[str, Any] = {} if kind == "bits" else {"levels": most - least + 1, "zero": -least}
        if kind == "int8":
            values, ranks = np.unique(weight, return_inverse=True)
            zero = int(np.abs(values.astype(np.int16)).argmin())
            if len(values) <= MOST_OF_FEW:
                levels = (ranks - zero).astype(np.int16).reshape(weight.shape)
                shorter = coding.encode(levels, -zero, len(values) - 1 - zero)
                if len(shorter) + len(values) < len(stream):
                    stream, kind = shorter, "int8_codebook"
                    own = {"codebook": self._bits.add(values.astype(np.int8).view(np.uint8)), "zero": zero}
        return self._add_coded({"kind": kind, **own}, weight, stream)

    def finish(self) -> tuple[bytes, bytes]:
        """The data of the tensors float32 and bits."""
        floats = np.frombuffer(bytes(self._floats.data), np.float32)
        stream = coding.encode_floats(floats)
        if _is_worth(len(stream), floats.nbytes, len(floats)):
            entry = {"kind": "floats", "count": len(floats), "stream": self._bits.add(np.frombuffer(stream, np.uint8))}
            self.coded.insert(0, entry)
            self._floats = Pool()
        offsets = {True: len(floats), False: len(self._bits.data)}
        for place, elements, of_floats in self._decoded:
            place[:] = [offsets[of_floats], elements]
            offsets[of_floats] += elements
        return bytes(self._floats.data), bytes(self._bits.data)

    def _add_coded(self, entry: dict[str, Any], weight: np.ndarray, stream: bytes) -> list[int]:
        kind = entry["kind"]
        place = [0, 0]
        self._decoded.append(
            (place, weight.size if kind in FLOATS else packed_bytes(weight.size, kind), kind in FLOATS)
        )
        self.coded.append(
            {**entry, "shape": list(weight.shape), "stream": self._bits.add(np.frombuffer(stream, np.uint8))}
        )
        return place


def has_few_values(weight: np.ndarray) -> bool:
    """Whether a codebook of a float weight's distinct values could pay."""
    return len(np.unique(weight)) <= min(weight.size // 4, coding.MOST_LEVEL - 1)  # 0 of two signs is one here


MOST_OF_FEW = 16  # distinct values of 8 bits that a codebook is tried for
QUICK = 65536  # numbers that decode in about 10 ms


def _is_worth(coded: int, plain: int, numbers: int) -> bool:
    """Whether the bytes won are worth the time at load: an eighth, of many numbers a half, and what an entry costs."""
    return coded + 96 < plain - plain // (8 if numbers <= QUICK else 2)


def pack(weight: np.ndarray, kind: str) -> np.ndarray:
    """Whole numbers as they lie in the tensor `bits`, uint8 (n,)."""
    flat = weight.reshape(-1)
    if kind == "bits":
        return np.packbits(flat > 0, bitorder="little")
    if kind == "int8":
        return flat.astype(np.int8).view(np.uint8)
    halves = flat.astype(np.int8).view(np.uint8) & 15
    halves = np.append(halves, np.zeros(len(halves) % 2, np.uint8))
    return halves[0::2] | halves[1::2] << 4


def packed_bytes(count: int, kind: str) -> int:
    return (count * INTEGERS[kind] + 7) // 8


# ----------------------------------------------------------------------------------------------- reading
_KEYS = {
    "bits": ("shape",),
    "codebook": ("codebook", "shape", "zero"),
    "floats": ("count",),
    "int4": ("levels", "shape", "zero"),
    "int8": ("levels", "shape", "zero"),
    "int8_codebook": ("codebook", "shape", "zero"),
}


def expand(coded: Any, floats: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both tensors with what `coded`, the graph's list, decodes to behind them. Raises Error where it is wrong."""
    if not isinstance(coded, list) or len(coded) > MAX_NODES:
        raise Error(f"`coded` is a list of at most {MAX_NODES} arrays, not {shorten(coded)}")
    stored, known, left, before = bits, floats, MAX_PACKED, "floats"
    for position, entry in enumerate(coded):
        try:
            kind = entry.get("kind") if isinstance(entry, dict) else None
            if not isinstance(kind, str) or kind not in _KEYS:
                raise Error(f"its kind {shorten(kind)} is none of {', '.join(_KEYS)}")
            if set(entry) != {"kind", "stream", *_KEYS[kind]}:
                raise Error(
                    f"it has the keys {', '.join(('kind', 'stream', *_KEYS[kind]))}, not {shorten(list(entry))}"
                )
            start, count = numbers(entry["stream"], 2)
            if start + count > len(stored):
                raise Error("its stream does not lie inside the tensor bits")
            size = prod(_shape(entry["shape"])) if "shape" in entry else numbers([entry["count"]], 1)[0]
            left -= size
            if left < 0:
                raise Error(f"the coded arrays together have more than {MAX_PACKED} numbers")
            if kind == "floats" and before != "floats":
                raise Error("floats come before the other kinds")
            before = kind
            made = _decoded(entry, stored[start : start + count].tobytes(), known, stored)
            if kind in FLOATS:
                floats = np.concatenate([floats, made])
            else:
                bits = np.concatenate([bits, made])
            if kind == "floats":
                known = floats
        except Error as error:
            raise Error(f"coded array {position}: {error}") from None
    return floats, bits


def _decoded(entry: dict[str, Any], stream: bytes, floats: np.ndarray, stored: np.ndarray) -> np.ndarray:
    kind = entry["kind"]
    if kind == "floats":
        made = coding.decode_floats(stream, entry["count"])
        if not np.isfinite(made).all():
            raise Error("a number in it is not finite")
        return made
    shape = _shape(entry["shape"])
    if kind == "bits":
        return pack(coding.decode(stream, shape, 0, 1), "bits")
    of = floats if kind == "codebook" else stored
    if "codebook" in entry:
        start, levels = numbers(entry["codebook"], 2)
        if start + levels > len(of):
            raise Error(f"its codebook does not lie inside the tensor {'float32' if of is floats else 'bits'}")
    else:
        levels = numbers([entry["levels"]], 1)[0]
    zero = numbers([entry["zero"]], 1)[0]
    most = coding.MOST_LEVEL if kind == "codebook" else (1 << (INTEGERS[kind] - 1)) - 1
    if not 0 <= zero < levels or zero > most or levels - 1 - zero > most:
        raise Error(f"{levels} levels with zero at {zero} are not possible")
    made = coding.decode(stream, shape, -zero, levels - 1 - zero)
    return of[start + zero + made.reshape(-1).astype(np.int64)] if "codebook" in entry else pack(made, kind)


def _shape(entry: Any) -> tuple[int, ...]:
    shape = numbers(entry, 4)
    if not all(
        1 <= n <= limit for n, limit in zip(shape, (MAX_CHANNELS, MAX_EXTENT, MAX_EXTENT, MAX_CHANNELS), strict=True)
    ):
        raise Error(f"its shape {shape} is not possible")
    return tuple(shape)


def numbers(entry: Any, count: int) -> list[int]:
    """A list of `count` whole numbers. Raises Error for anything else."""
    if not isinstance(entry, list) or len(entry) != count or not all(type(number) is int for number in entry):
        raise Error(f"{count} integers are expected, not {shorten(entry)}")
    return entry
