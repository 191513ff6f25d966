"""Where floats may be rounded to codes early, so that other engines find whole layers of integers."""

from __future__ import annotations

from netsuke.artifact.graph import Concat, Graph, MaxPool, Node, Quantize, Read, Store

Coding = tuple[float, int, int]  # multiplier, zero and bits of a quantize step


def coding(step: Quantize) -> Coding:
    return step.multiplier, step.zero, step.bits


def early_codes(graph: Graph) -> dict[int, Coding]:
    """The stored floats of which only codes are needed, all of one coding: by value.

    The code of a maximum is the maximum of the codes, and a concatenation copies: rounding the floats that such a node
    reads gives the codes that rounding its result gives. An engine then finds no floats between two layers of integers.
    """
    found: dict[int, Coding] = {}
    wanted: dict[int, set[Coding | None]] = {output.value: {None} for output in graph.outputs}  # None: the floats
    for node in reversed(graph.nodes):
        for step in node.epilogue:
            if isinstance(step, Store) and len(wanted.get(step.out, ())) == 1:
                (only,) = wanted[step.out]
                if only is not None:
                    found[step.out] = only
        kept = _kept(node, found)
        for value in node.inputs:
            wanted.setdefault(value, set()).add(kept)
        for step in node.epilogue:
            if isinstance(step, Read):
                wanted.setdefault(step.value, set()).add(None)
    return found


def _kept(node: Node, found: dict[int, Coding]) -> Coding | None:
    """The coding of which alone the node's result is kept, if it is a maximum or a concatenation."""
    if not isinstance(node, MaxPool | Concat) or len(node.epilogue) != 1:
        return None
    (step,) = node.epilogue
    if isinstance(step, Quantize):
        return coding(step)
    return found.get(step.out) if isinstance(step, Store) else None
