"""The Python face of the C++ engine: load a `.netsuke` file and run it. Needs no torch."""

from .engine import Engine, available_isas, load, peak

__all__ = ["Engine", "available_isas", "load", "peak"]
