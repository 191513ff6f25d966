"""Coded weights and floats (docs/coding.md): what csrc/code does, slow and plain, and that where it is compiled.

Both make the same streams.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .contract import Error

try:
    from . import _coding as compiled
except ImportError:
    compiled = None  # type: ignore[assignment]

AHEAD = 4  # bytes of the stream that a decoder holds
HALF, LEAST = 32768, 32
LIMIT = 255
FIRST_WEIGHT = 14000
MOST_LEVEL = 32767

# 65536 / (1 + exp(-x)) at x = -8, -7.5, ... 8.
_CURVE = (
    22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108, 4971, 7812, 11955, 17625, 24743, 32768, 40793, 47911, 53581,
    57724, 60565, 62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514,
)  # fmt: skip
_SQUASH = [
    (_CURVE[d >> 7] * (128 - d % 128) + _CURVE[(d >> 7) + 1] * (d % 128) + 64) >> 7 for d in range(4096)
]  # by the place on the line + 2048
_RATE = [655360 // (10 * n + 16) for n in range(LIMIT + 1)]


def _stretch() -> list[int]:
    """The place where squash reaches the middle of each of 4096 probabilities."""
    made, place = [], -2047
    for i in range(4096):
        while place < 2047 and _SQUASH[place + 2048] < 16 * i + 8:
            place += 1
        made.append(place)
    return made


_STRETCH = _stretch()


# ------------------------------------------------------------------------------------------- the coder
class Encoder:
    """code(bit, p) writes a bit that is 1 with probability p / 65536, and returns it."""

    def __init__(self) -> None:
        self._low, self._range, self._bytes = 0, 0xFFFFFFFF, bytearray()

    def code(self, bit: int, p: int) -> int:
        bound = (self._range >> 16) * p
        if bit:
            self._range = bound
        else:
            self._low += bound
            self._range -= bound
        while self._range < 1 << 24:
            self._range <<= 8
            self._shift()
        return bit

    def finish(self) -> bytes:
        """The stream, without the zeros that a decoder reads past its end."""
        for bits in range(32, -1, -1):  # the number in [low, low + range) with the most zeros at its end
            rounded = (self._low + (1 << bits) - 1) >> bits << bits
            if rounded < self._low + self._range:
                self._low = rounded
                break
        least = len(self._bytes)
        for _ in range(AHEAD):
            self._shift()
        while len(self._bytes) > least and self._bytes[-1] == 0:
            del self._bytes[-1]
        return bytes(self._bytes)

    def _shift(self) -> None:
        if self._low >> 32:  # a carry
            i = len(self._bytes) - 1
            while self._bytes[i] == 255:
                self._bytes[i] = 0
                i -= 1
            self._bytes[i] += 1
        self._bytes.append(self._low >> 24 & 255)
        self._low = (self._low & 0xFFFFFF) << 8


class Decoder:
    """code(anything, p) reads the bit that was written with p."""

    def __init__(self, stream: bytes) -> None:
        self._stream, self._at, self._range, self._code = stream, 0, 0xFFFFFFFF, 0
        for _ in range(AHEAD):
            self._code = self._code << 8 | self._next()

    def code(self, bit: int, p: int) -> int:
        bound = (self._range >> 16) * p
        bit = int(self._code < bound)
        if bit:
            self._range = bound
        else:
            self._code -= bound
            self._range -= bound
        while self._range < 1 << 24:
            self._range <<= 8
            self._code = (self._code << 8 | self._next()) & 0xFFFFFFFF
        return bit

    def ended(self) -> bool:
        """Whether the stream is as long as what was read of it."""
        size = len(self._stream)
        return size <= self._at <= size + AHEAD and (self._at == size + AHEAD or self._stream[-1] != 0)

    def _next(self) -> int:
        self._at += 1
        return self._stream[self._at - 1] if self._at <= len(self._stream) else 0


Coder = Encoder | Decoder


class _Counter:
    """What is learned of one bit in one context."""

    __slots__ = ("p", "seen")

    def __init__(self) -> None:
        self.p, self.seen = HALF, 0

    def learn(self, bit: int) -> None:
        self.p += (65535 * bit - self.p) * _RATE[self.seen] >> 16
        self.seen = min(self.seen + 1, LIMIT)

    def code(self, coder: Coder, bit: int) -> int:
        bit = coder.code(bit, min(max(self.p, LEAST), 65536 - LEAST))
        self.learn(bit)
        return bit


class _Mixed:
    """One bit in several contexts at once: logistic mixing (Mahoney 2005)."""

    def __init__(self, contexts: int) -> None:
        self._weights = [FIRST_WEIGHT] * contexts
        self._counters: list[dict[int, _Counter]] = [{} for _ in range(contexts)]

    def code(self, coder: Coder, bit: int, contexts: tuple[int, ...]) -> int:
        found = [known.setdefault(c, _Counter()) for known, c in zip(self._counters, contexts, strict=True)]
        places = [_STRETCH[counter.p >> 4] for counter in found]
        total = sum(w * place for w, place in zip(self._weights, places, strict=True)) >> 16
        p = _SQUASH[min(max(total, -2047), 2047) + 2048]
        bit = coder.code(bit, p)
        error = (bit << 16) - p
        for k, place in enumerate(places):
            self._weights[k] += (place * error + 65536) >> 17
            found[k].learn(bit)
        return bit


# ------------------------------------------------------------------------------------------- levels
def encode(levels: np.ndarray, least: int, most: int) -> bytes:
    """The stream of whole numbers (O, kh, kw, C), each from least to most, least <= 0 <= most."""
    if compiled is not None:
        return compiled.encode(np.ascontiguousarray(levels, np.int16), least, most)
    coder = Encoder()
    _Levels(levels.shape, least, most, levels.reshape(-1).tolist()).run(coder)
    return coder.finish()


def decode(stream: bytes, shape: tuple[int, ...], least: int, most: int) -> np.ndarray:
    """The numbers, int16 of `shape` (O, kh, kw, C). Raises Error where the stream is damaged."""
    if compiled is not None:
        levels = np.empty(shape, np.int16)
        sound = compiled.decode(stream, levels, least, most)
    else:
        coder = Decoder(stream)
        model = _Levels(shape, least, most, [0] * int(np.prod(shape)))
        sound = model.run(coder) and coder.ended()
        levels = np.array(model.levels, np.int16).reshape(shape)
    if not sound:
        raise Error("its stream is damaged")
    return levels


def _magnitude_class(m: int) -> int:
    """0, 1, 2, 3, 4 to 5, 6 to 7, 8 to 11, ... as 0, 1, 2, ... 15."""
    if m < 4:
        return m
    high = m.bit_length() - 1
    return min(15, 2 * high + (m >> (high - 1) & 1))


def _sign_class(s: int) -> int:
    return min(15, (s + 4096) >> 9)


def _sign(v: int) -> int:
    return 1 if v > 0 else 2 if v < 0 else 0


@dataclass
class _Mean:
    """Running means of levels that share something: 64 times the magnitude, 4096 times the sign."""

    magnitude: int = 0
    sign: int = 0


class _Levels:
    MODELLED = 3  # bits of a magnitude below the first; the others are as likely 0 as 1

    def __init__(self, shape: tuple[int, ...], least: int, most: int, levels: list[int]) -> None:
        self.shape, self.least, self.most, self.levels = shape, least, most, levels
        self._largest = max(-least, most)
        outputs, height, width, channels = shape
        self._row, self._window = width * channels, height * width * channels
        self._of_tap = [_Mean() for _ in range(self._window)]
        self._of_channel = [_Mean() for _ in range(channels)]
        self._of_output = _Mean()
        self._not_zero, self._negative = _Mixed(6), _Mixed(6)
        self._longer = [[_Counter() for _ in range(16)] for _ in range(16)]
        self._mantissa = [[_Counter() for _ in range(1 << self.MODELLED)] for _ in range(16)]

    def run(self, coder: Coder) -> bool:
        for at, (output, y, x, channel) in enumerate(self._places()):
            if y == x == channel == 0:
                self._of_output = _Mean()
            means = self._of_tap[at % self._window], self._of_channel[channel]
            level = self._one(coder, at, output, y, x, channel, *means)
            if not self.least <= level <= self.most:
                return False
            self.levels[at] = level
            self._learn(64 * abs(level), output, *means)
        return True

    def _places(self) -> Iterator[tuple[int, ...]]:
        return np.ndindex(*self.shape)

    def _one(self, coder: Coder, at: int, output: int, y: int, x: int, channel: int, tap: _Mean, own: _Mean) -> int:
        v, row, window, channels = self.levels, self._row, self._window, self.shape[3]
        left, up = v[at - channels] if x else 0, v[at - row] if y else 0
        before, before2 = v[at - 1] if channel else 0, v[at - 2] if channel > 1 else 0
        above, above2 = v[at - window] if output else 0, v[at - 2 * window] if output > 1 else 0
        near = _magnitude_class((abs(left) + abs(up)) * (1 if x and y else 2))
        ahead, over = _magnitude_class(abs(before) + abs(before2)), _magnitude_class(abs(above) + abs(above2))
        of_tap, of_own = _magnitude_class(tap.magnitude >> 5), _magnitude_class(own.magnitude >> 5)
        of_output = _magnitude_class(self._of_output.magnitude >> 5)
        contexts = (
            0, near * 16 + of_own, ahead * 16 + of_output, of_tap * 16 + of_output, near * 16 + of_tap,
            over * 16 + of_own,
        )  # fmt: skip
        level = v[at]
        if self._largest == 0 or not self._not_zero.code(coder, int(level != 0), contexts):
            return 0
        context = _magnitude_class((self._of_output.magnitude + own.magnitude) >> 6)
        magnitude = self._magnitude(coder, abs(level), context)
        if self.least == 0:
            return magnitude
        if self.most == 0:
            return -magnitude
        if window == channels:
            around, along = _sign(before2) * 3 + _sign(before), _sign(above2) * 3 + _sign(above)
        else:
            corner = v[at - row - channels] if x and y else 0
            other = v[at - row + channels] if y and x + 1 < self.shape[2] else 0
            around = ((_sign(left) * 3 + _sign(up)) * 3 + _sign(corner)) * 3 + _sign(other)
            along = (_sign(before) * 3 + _sign(above)) * 3 + _sign(left)
        tap_sign = _sign_class(tap.sign)
        of_signs = (
            0,
            around,
            along,
            _sign_class(self._of_output.sign),
            tap_sign,
            _sign_class(own.sign) * 16 + tap_sign,
        )
        negative = self._negative.code(coder, int(level < 0), of_signs)
        target = -4096 if negative else 4096
        self._of_output.sign += (target - self._of_output.sign) >> 4
        own.sign += (target - own.sign) >> 4
        tap.sign += (target - tap.sign) >> 3
        return -magnitude if negative else magnitude

    def _magnitude(self, coder: Coder, magnitude: int, context: int) -> int:
        """Of a level that is not 0: how many bits, then these."""
        bits = 1
        while self._largest >> bits and self._longer[bits][context].code(coder, int(magnitude >> bits != 0)):
            bits += 1
        made = 1
        for below in range(bits - 1):
            following = magnitude >> (bits - 2 - below) & 1
            if below < self.MODELLED:
                bit = self._mantissa[bits][made].code(coder, following)
            else:
                bit = coder.code(following, HALF)
            made = made << 1 | bit
        return made

    def _learn(self, target: int, output: int, tap: _Mean, own: _Mean) -> None:
        self._of_output.magnitude += (target - self._of_output.magnitude) >> 4
        own.magnitude += (target - own.magnitude) >> 3
        tap.magnitude += (target - tap.magnitude) >> (1 if output < 2 else 2 if output < 6 else 3)


# ------------------------------------------------------------------------------------------- floats
def encode_floats(floats: np.ndarray) -> bytes:
    """The stream of float32 numbers (n,), without loss."""
    if compiled is not None:
        return compiled.encode_floats(np.ascontiguousarray(floats, "<f4").view(np.uint32))
    coder = Encoder()
    _floats(coder, floats.astype("<f4").view("<u4").tolist())
    return coder.finish()


def decode_floats(stream: bytes, count: int) -> np.ndarray:
    """The numbers, float32 (count,). Raises Error where the stream is damaged."""
    if compiled is not None:
        made = np.empty(count, np.uint32)
        sound = compiled.decode_floats(stream, made)
    else:
        coder, bits = Decoder(stream), [0] * count
        _floats(coder, bits)
        sound, made = coder.ended(), np.array(bits, np.uint32)
    if not sound:
        raise Error("its stream is damaged")
    return made.view(np.float32)


_MODELLED = 6  # bits of a fraction
_REST = (1 << (23 - _MODELLED)) - 1  # the others: all 0, or as likely 0 as 1


def _floats(coder: Coder, bits: list[int]) -> None:
    nodes: dict[tuple[int, int], _Mixed] = {}
    last = second = 0
    for i, number in enumerate(bits):
        made = 1
        for shift in range(31, 22, -1):
            node = nodes.setdefault((0, made), _Mixed(3))
            made = made << 1 | node.code(coder, number >> shift & 1, (0, last >> 23, second >> 23))
        top = made & 511
        fraction = 1
        for n in range(_MODELLED):
            near = (last >> (22 - n) & ((2 << n) - 1)) + 1 if top == last >> 23 else 0
            node = nodes.setdefault((1, fraction), _Mixed(3))
            fraction = fraction << 1 | node.code(coder, number >> (22 - n) & 1, (0, near, top & 255))
        zeros = 2 * (last & _REST == 0) + (second & _REST == 0)
        more = nodes.setdefault((2, 0), _Mixed(3)).code(coder, int(number & _REST != 0), (0, zeros, top))
        for n in range(_MODELLED, 23):
            fraction = fraction << 1 | (coder.code(number >> (22 - n) & 1, HALF) if more else 0)
        bits[i] = top << 23 | fraction & 0x7FFFFF
        last, second = bits[i], last
