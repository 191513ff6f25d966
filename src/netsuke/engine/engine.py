"""Loading and running a `.netsuke` file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from netsuke.artifact import Graph, decode, infer, read_bytes
from netsuke.artifact.contract import Error
from netsuke.artifact.graph import Read, Write
from netsuke.artifact.images import DTYPES, check_images, check_values
from netsuke.artifact.infer import Value

try:
    from . import _native
except ImportError as error:  # no compiler where it was installed: artifact.Reference still runs the file
    _native = None  # type: ignore[assignment]
    _reason = str(error)


_MISSING = (
    "the compiled engine cannot be imported ({}).\n"
    "Reinstall netsuke where a C++ compiler is, or run the file with netsuke.artifact.Reference."
)


def load(path: str | Path | bytes, threads: int = 1, isa: str | None = None) -> Engine:
    """Load a `.netsuke` file (or its bytes) into the engine.

    Args:
        path: the file, or its whole content.
        threads: how many threads one image is split over. The result does not depend on it.
        isa: the instruction set to run: scalar, avx2, avx512, avx512vpopcnt, amx, neon. By default the environment
            variable NETSUKE_ISA decides, or else the machine.

    Raises:
        Error: the file is missing, damaged or no netsuke file; the machine lacks the instruction set.
    """
    if not isinstance(path, (str, os.PathLike, bytes)):
        raise Error(f"load takes the path of a .netsuke file, or its bytes, not a {type(path).__name__}")
    if isinstance(path, bytes):
        return Engine(path, threads=threads, isa=isa)
    data = read_bytes(path)
    try:
        return Engine(data, threads=threads, isa=isa)
    except Error as error:
        raise Error(f"cannot load {path}: {error}") from None


def available_isas() -> list[str]:
    """The instruction sets this machine can run, slowest first. Empty where no engine was compiled."""
    return [] if _native is None else _native.available_isas()


def peak(isa: str | None = None) -> dict[str, float]:
    """What the arithmetic of one core allows: the rate of each convolution's bare inner loop, in GMAC/s.

    The loops run the same instructions as the kernels (binary: XOR, popcount, add), with weights in registers and no
    windows, memory traffic or epilogue. A layer's rate over its loop's, measured in the same minute, says how much of
    the machine it uses.

    Args:
        isa: as in `load`.

    Returns:
        {"binary_gmacs", "float_gmacs", "int8_gmacs"}: each the median of several runs of about a millisecond.

    Raises:
        Error: the machine lacks the instruction set, or no engine was compiled.
    """
    if _native is None:
        raise Error(_MISSING.format(_reason))
    names = ("binary_gmacs", "float_gmacs", "int8_gmacs")
    return {name: rate / 1e9 for name, rate in zip(names, _native.peak(isa or ""), strict=True)}


class Engine:
    """A loaded network. Call it with images.

    Attributes:
        model: the model's name.
        input_shape: (C, H, W).
        isa: the instruction set that runs.
        threads: as loaded.
        sparse_nodes: the nodes, counted from 0, that run from a sparse form of their weights, and how many weights it
            holds (6 bytes each): those that are not 0, and the zeros that fill it up.
        codebook_nodes: the nodes that run from a table of their weights' values and 2 bits a weight.
    """

    def __init__(self, data: bytes, threads: int = 1, isa: str | None = None) -> None:
        if _native is None:
            raise Error(_MISSING.format(_reason))
        if isinstance(threads, bool) or not isinstance(threads, int):
            raise Error(f"threads is {threads!r}: give a whole number from 1 to 256.")
        if isa is not None and not isinstance(isa, str):
            raise Error(f"isa is {isa!r}: give a name, such as 'scalar', or None.")
        self._data = data
        self._model = _native.Model(data, isa or "", threads)
        self.model: str = self._model.model
        self.input_shape: tuple[int, int, int] = self._model.input_shape
        self.isa: str = self._model.isa
        self.threads: int = self._model.threads
        self.sparse_nodes: dict[int, int] = self._model.sparse_nodes
        self.codebook_nodes: list[int] = self._model.codebook_nodes

    def __call__(self, images: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """Run a batch.

        Args:
            images: (N, C, H, W), uint8 as read from an image (the file holds the normalisation), or
                float32, normalised already.

        Returns:
            The output, float32 (N, classes) or (N, C, H, W); a tuple of them if the network has several.

        Raises:
            Error: the images have another shape or dtype, or hold a number that is not finite.
        """
        check_images(images, self.input_shape, self._model.takes_uint8)
        run = self._model.run_u8 if images.dtype == np.uint8 else self._model.run_f32
        images = np.ascontiguousarray(images)
        outputs = run(images)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    @cached_property
    def _decoded(self) -> tuple[Graph, list[Value]]:
        graph = decode(self._data)
        return graph, infer(graph)

    def run_node(self, index: int, values: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Run node `index` alone on given values, for comparisons node by node.

        Args:
            values: by value id, (N, C, H, W): float32, uint8, or int8 of -1 and +1 for bits.

        Returns:
            The values that the node makes, likewise.

        Raises:
            Error: there is no such node, or a value is missing, or of another shape or type.
        """
        graph, kinds = self._decoded
        if not 0 <= index < len(graph.nodes):
            raise Error(f"there is no node {index}; the graph has {len(graph.nodes)}")
        node = graph.nodes[index]
        read = {*node.inputs, *(step.value for step in node.epilogue if isinstance(step, Read))}
        check_values(values, {value: kinds[value] for value in read})
        made = {step.out: kinds[step.out] for step in node.epilogue if isinstance(step, Write)}
        batch = len(values[node.inputs[0]])
        results: dict[int, np.ndarray] = {}
        for out, value in made.items():
            results[out] = np.empty((batch, *value.shape), DTYPES[value.kind])
        for n in range(batch):
            image = {i: np.ascontiguousarray(values[i][n : n + 1], np.float32) for i in read}
            for out, planes in self._model.run_node(index, image).items():
                results[out][n] = planes[0]
        return results

    def profile(self, images: np.ndarray, runs: int = 20) -> list[tuple[str, str, float]]:
        """(name, operator, seconds an image) of every node in running order. images: float32, as in a call."""
        check_images(images, self.input_shape, takes_uint8=False)
        return self._model.profile(np.ascontiguousarray(images), runs)
