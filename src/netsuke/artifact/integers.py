"""Whether a graph computes in integers only."""

from __future__ import annotations

from .graph import FixedNode, Graph, Identity, Store, ToFixed


def float_operations(graph: Graph) -> list[str]:
    """What a graph computes in floats between its input and its outputs, in words; empty where integers do it all.

    An image becomes codes at the input, and finished integers become floats at the outputs: these are the borders.
    """
    outputs = {output.value for output in graph.outputs}
    found = []
    for position, node in enumerate(graph.nodes):
        where = f"node {position} ({node.name})"
        if isinstance(node, FixedNode):
            inner = [step for step in node.epilogue if isinstance(step, Store) and step.out not in outputs]
            if inner:
                found.append(f"{where} stores floats")
        elif not (
            isinstance(node, Identity)
            and node.inputs == [0]
            and all(isinstance(step, ToFixed) for step in node.epilogue)
        ):
            found.append(f"{where} is a {type(node).__name__}")
    return found
