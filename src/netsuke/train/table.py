"""Frozen dataclasses that are read from TOML tables, check themselves, and are written back canonically."""

from __future__ import annotations

import difflib
import json
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from netsuke.artifact.contract import Error


@dataclass(frozen=True)
class Range:
    """Numbers from low to high; `above`: low itself is not one of them."""

    low: float
    high: float = math.inf
    above: bool = False

    def holds(self, value: float) -> bool:
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        start = f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        return start if self.high == math.inf else f"{start}, at most {self.high:g}"


Positive = Annotated[float, Range(0, above=True)]
NotNegative = Annotated[float, Range(0)]
Factor = Annotated[float, Range(1)]
Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]


class Table:
    """A table of a recipe. Fields are checked by their annotations, however the object was made.

    section: where the table stands, for messages. Raises netsuke.Error for a value of a wrong type or range.
    """

    section: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            object.__setattr__(self, name, _checked(getattr(self, name), hint, self._place(name)))

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """The object of a parsed TOML table. Raises netsuke.Error for unknown and for missing keys too."""
        check_keys(cls.section or "the recipe", table, list(_hints(cls)))
        for field in fields(cls):  # type: ignore[arg-type]
            if field.name not in table and field.default is MISSING and field.default_factory is MISSING:
                raise Error(f"{cls._place(field.name)} is missing: the recipe must say it")
        return cls(**table)

    @classmethod
    def _place(cls, name: str) -> str:
        return f"{cls.section}.{name}" if cls.section else name


def check_keys(place: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises netsuke.Error, with the keys close to it, for a key of `table` that is not known."""
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
            hint = f"Close to it: {', '.join(close)}" if close else f"It has {', '.join(known)}"
            raise Error(f"{place} has no key {key!r}. {hint}")


def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def _checked(value: Any, hint: Any, place: str) -> Any:
    """`value` as `hint` wants it: a whole number becomes a float, a list a tuple, a mapping its table."""
    origin = get_origin(hint)
    if origin is Annotated:
        base, allowed = get_args(hint)
        number = _checked(value, base, place)
        if not allowed.holds(number):
            raise Error(f"{place} is {number:g}: give a number {allowed}")
        return number
    if origin is Literal:
        if value not in get_args(hint):
            raise Error(f"{place} is {value!r}: choose one of {', '.join(map(str, get_args(hint)))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise Error(f"{place} is {value!r}: give a list")
        return tuple(_checked(item, get_args(hint)[0], f"{place}.{i}") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise Error(f"{place} is {value!r}: give a table")
        of = get_args(hint)[1]
        return {key: item if of is Any else _checked(item, of, f"{place}.{key}") for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, Table):
        if not isinstance(value, (hint, Mapping)):
            raise Error(f"{place} is {value!r}: give a table")
        return hint.from_table(value) if isinstance(value, Mapping) else value
    return _plain(value, hint, place)


_WORDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}


def _plain(value: Any, hint: type, place: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    right = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if not right or (hint is float and not math.isfinite(value)):
        raise Error(f"{place} is {value!r}: give {_WORDS[hint]}")
    return value


# ----------------------------------------------------------------------------------------------- writing
def to_toml(table: Table) -> str:
    """The table as TOML: every field in its order, plain values before tables. Equal tables give equal text."""
    return "\n".join(_lines(_plain_table(table), ())) + "\n"


def _plain_table(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain_table(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain_table(value[key]) for key in sorted(value)}
    return [_plain_table(item) for item in value] if isinstance(value, (list, tuple)) else value


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _lines(table: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"{_key(k)} = {_value(v)}" for k, v in table.items() if not isinstance(v, dict) and not _is_tables(v)]
    for key, value in table.items():
        name = ".".join(map(_key, (*path, key)))
        if isinstance(value, dict):
            lines += ["", f"[{name}]", *_lines(value, (*path, key))]
        elif _is_tables(value):
            for item in value:
                lines += ["", f"[[{name}]]", *_lines(item, (*path, key))]
    return lines


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "").replace("-", "").isalnum() else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (int, float)):
        return repr(value)
    kind = type(value).__name__ if not isinstance(value, types.NoneType) else "nothing"
    raise Error(f"a recipe holds texts, numbers, lists and tables, not {kind}")
