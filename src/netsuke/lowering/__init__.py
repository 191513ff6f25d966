"""From a torch module to a graph: capture, build, passes, and the file."""

from netsuke.lowering.embeddings import export_embeddings
from netsuke.lowering.export import Lowered, export, lower
from netsuke.lowering.fixed_point import FixedPoint

__all__ = ["FixedPoint", "Lowered", "export", "export_embeddings", "lower"]
