"""Values of options: read here and not by typer, whose words about a wrong one are its libraries' own."""

from __future__ import annotations

from collections.abc import Callable

from netsuke.artifact.contract import Error


def count(option: str) -> Callable[[str | int], int]:
    """Reads a whole number of 1 or more, or raises Error."""

    def read(text: str | int) -> int:
        try:
            number = int(text)
        except ValueError:
            number = 0
        if number < 1:
            raise Error(f"{option} {text}: give a whole number, 1 or more")
        return number

    return read


def seconds(option: str, least: float) -> Callable[[str | float], float]:
    """Reads a finite number of `least` or more, or raises Error."""

    def read(text: str | float) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not least <= number < float("inf"):
            raise Error(f"{option} {text}: give a number, {least} or more")
        return number

    return read


def share(option: str) -> Callable[[str | float], float]:
    """Reads a number of 0 to 1, or raises Error."""

    def read(text: str | float) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 1:
            raise Error(f"{option} {text}: give a number, 0 to 1")
        return number

    return read


def choice(option: str, *allowed: str) -> Callable[[str], str]:
    """Reads one of the words `allowed`, or raises Error."""

    def read(text: str) -> str:
        if text not in allowed:
            raise Error(f"{option} {text}: choose {' or '.join(allowed)}")
        return text

    return read
