"""The Python face of the C++ engine: load a `.netsuke` file and run it. Needs no torch."""

from .embeddings import EmbeddingTable, load_embeddings
from .engine import Engine, available_isas, load, peak

__all__ = ["EmbeddingTable", "Engine", "available_isas", "load", "load_embeddings", "peak"]
