"""From a torch module to a graph: capture, build, passes, and the file."""

from netsuke.lowering.export import Lowered, export, lower

__all__ = ["Lowered", "export", "lower"]
