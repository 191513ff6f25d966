"""Data out of a pickle, without unpickling it.

A pickle is a program for a small stack machine, and Python's own machine will call any function it is told to. This
one knows only the instructions that build dicts, lists, tuples, strings, bytes, numbers and arrays of bytes; any other
is refused before anything has been run. The standard library's `pickletools` takes the instructions apart.
"""

from __future__ import annotations

import math
import pickletools
from typing import Any

import numpy as np

from netsuke.artifact.contract import Error, first_line

# What an instruction of a pickle may name, by module and name. All stand for data here; none is imported or called.
RECONSTRUCT = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
NAMES = RECONSTRUCT | {"numpy ndarray", "numpy dtype", "_codecs encode"}

CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
CONTAINERS = {"EMPTY_DICT": dict, "EMPTY_LIST": list}
VALUES = {  # `pickletools` has made their value already; a string of Python 2 as Latin-1
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(data: bytes, name: str) -> Any:
    """What `data` pickles. name: of the file, for errors.

    Raises Error if it is cut short, or holds anything but dicts, lists, tuples, strings, bytes, numbers and numpy
    arrays of unsigned bytes.
    """
    try:
        return _Machine().run(data)
    except _Refused as error:
        raise Error(
            f"{name} is a pickle that does more than hold data ({error}): it is not read\nfetch it again"
        ) from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise Error(f"{name} is no whole pickle ({first_line(error)}): fetch it again") from None


class _Refused(Exception):
    """What the pickle asked for."""


class _Name(str):
    """A module and a name that a pickle mentions, which is not the same as a string in it."""


class _Type(str):
    """The code of a numpy type, as in "u1"."""


class _Array:
    """An array while it is put together. It stays in the machine's memory, so its value is filled in afterwards."""

    value: np.ndarray | None = None

    def fill(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        if not isinstance(kind, _Type) or kind not in ("u1", "|u1"):
            raise _Refused(f"an array of {kind!r}, not of unsigned bytes")
        if isinstance(raw, str):
            raw = raw.encode("latin-1")
        if not isinstance(raw, bytes) or math.prod(shape) != len(raw):
            raise ValueError(f"an array of {len(raw)} bytes cannot have shape {tuple(shape)!r}"[:200])
        self.value = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memory: dict[Any, Any] = {}

    def run(self, data: bytes) -> Any:
        for instruction, argument, _ in pickletools.genops(data):
            name = instruction.name
            if name in VALUES:
                self.stack.append(argument)
            elif name in CONTAINERS:
                self.stack.append(CONTAINERS[name]())
            elif name in CONSTANTS:
                self.stack.append(CONSTANTS[name])
            elif name in TUPLES:
                self.stack.append(tuple(self._pop(TUPLES[name])))
            elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
                self.memory[argument] = self.stack[-1]
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                self.stack.append(self.memory[argument])
            elif hasattr(self, f"op_{name.lower()}"):
                getattr(self, f"op_{name.lower()}")(argument)
            elif name not in ("PROTO", "FRAME", "STOP"):
                raise _Refused(f"instruction {name}")
        (result,) = self.stack
        return _filled(result)

    def _pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise ValueError("it takes more than it holds")
        return [self.stack.pop() for _ in range(count)][::-1]

    def _since_mark(self) -> list[Any]:
        return self._pop(len(self.stack) - self.marks.pop())

    def op_mark(self, _: object) -> None:
        self.marks.append(len(self.stack))

    def op_memoize(self, _: object) -> None:
        self.memory[len(self.memory)] = self.stack[-1]

    def op_list(self, _: object) -> None:
        self.stack.append(self._since_mark())

    def op_tuple(self, _: object) -> None:
        self.stack.append(tuple(self._since_mark()))

    def op_dict(self, _: object) -> None:
        items = self._since_mark()
        self.stack.append(dict(zip(items[::2], items[1::2], strict=True)))

    def op_append(self, _: object) -> None:
        self._extend(self._pop(1))

    def op_appends(self, _: object) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("it appends to what is no list")
        self.stack[-1].extend(items)

    def op_setitem(self, _: object) -> None:
        self._update(self._pop(2))

    def op_setitems(self, _: object) -> None:
        self._update(self._since_mark())

    def _update(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise ValueError("it sets items of what is no dict")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def op_global(self, argument: str) -> None:
        if argument not in NAMES:
            raise _Refused(f"it names {argument.replace(' ', '.')[:100]!r}")
        self.stack.append(_Name(argument))

    def op_stack_global(self, _: object) -> None:
        module, name = self._pop(2)
        self.op_global(f"{module} {name}")

    def op_reduce(self, _: object) -> None:
        called, arguments = self._pop(2)
        if not isinstance(called, _Name) or not isinstance(arguments, tuple):
            raise _Refused("a call of what is no function")
        if called in RECONSTRUCT:
            self.stack.append(_Array())
        elif called == "numpy dtype":
            self.stack.append(_Type(arguments[0]))
        elif called == "_codecs encode" and arguments[1:] == ("latin1",):  # bytes, as Python 3 writes them for 2
            self.stack.append(arguments[0].encode("latin-1"))
        else:
            raise _Refused(f"a call of {called.replace(' ', '.')}")

    def op_build(self, _: object) -> None:
        built, state = self._pop(2)
        if isinstance(built, _Array):
            built.fill(state)
        elif not isinstance(built, _Type):  # a type's state says its byte order, of which bytes have none
            raise _Refused("state for what is no array")
        self.stack.append(built)


def _filled(value: Any) -> Any:
    """`value`, or the values of a dict, with arrays in the place of what stood for them."""
    if isinstance(value, dict):
        return {key: item.value if isinstance(item, _Array) else item for key, item in value.items()}
    return value.value if isinstance(value, _Array) else value
