"""ONNX: the network of a `.netsuke` file as other engines take it (docs/onnx.md). Imports no torch.

`onnx` itself is imported when a file is converted: without it, that is an error that says what to install.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from netsuke import atomic
from netsuke.artifact import decode, read
from netsuke.artifact.contract import Error
from netsuke.artifact.graph import Graph

INPUTS = ("float32", "uint8")


def export_onnx(
    source: str | os.PathLike[str] | bytes | Graph, path: str | os.PathLike[str], input: str = "float32"
) -> Path:
    """Write the network of a `.netsuke` file as an ONNX file and return its path. It needs onnx, and no torch.

    source: the file, its bytes, or a graph. Its layers compute in floats or integers; ONNX has no 1-bit convolution.
    input: "float32" for images (N, C, H, W) that are normalised already; "uint8" for images as they were read, RGB,
    where the file has a preprocessing: it becomes part of the network. N is any number.

    Floats stay floats. 8- and 4-bit layers become what is called the QDQ form: QuantizeLinear and DequantizeLinear
    around ordinary operators, which an engine fuses into integer ones. The same network gives the same bytes.

    Raises netsuke.Error where the network has a 1-bit layer, naming it; where `input` is uint8 and the file has no
    preprocessing; where onnx is not installed; and for a file that is no sound .netsuke file or cannot be written.
    """
    if isinstance(path, bytes) or not isinstance(path, (str, os.PathLike)):
        raise Error(f"path is where the ONNX file is written: give a string or a Path, not a {type(path).__name__}")
    data = encode(source if isinstance(source, Graph) else _read(source), input)
    atomic.write(path, data)
    return Path(path)


def encode(graph: Graph, input: str = "float32") -> bytes:
    """The bytes of an ONNX file. Arguments and errors as of `export_onnx`."""
    if input not in INPUTS:
        raise Error(f"input is {' or '.join(INPUTS)}, not {input!r}")
    check_installed()
    from netsuke.onnx.convert import convert

    return convert(graph, input).SerializeToString(deterministic=True)


def check_installed() -> None:
    """Raises netsuke.Error, saying what to install, where onnx cannot be imported."""
    try:
        importlib.import_module("onnx")
    except ImportError as error:
        raise Error(
            f"ONNX export needs onnx ({error})\npip install onnx, or in the netsuke folder: pip install '.[onnx]'"
        ) from None


def _read(source: str | os.PathLike[str] | bytes) -> Graph:
    if isinstance(source, bytes):
        return decode(source)
    if isinstance(source, (str, os.PathLike)):
        return read(source)
    raise Error(
        f"export_onnx takes the path of a .netsuke file, its bytes, or a graph, not a {type(source).__name__}.\n"
        "A torch module: netsuke.export(module, example_input, 'network.onnx')"
    )
