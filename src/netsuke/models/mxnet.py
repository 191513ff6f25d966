"""MXNet's `.params` files: a list of named arrays, in the oldest of its layouts (BMXNet is made of MXNet 0.9.3)."""

from __future__ import annotations

from math import prod
from pathlib import Path

import torch
from torch import Tensor

from netsuke.artifact.contract import Error
from netsuke.models.pieces import Pieces

LIST_MAGIC = 0x112
MOST_AXES = 8
TYPES = ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8")  # by their numbers
DEVICES = (1, 2, 3)  # a CPU, a GPU, a CPU's pinned memory
NEWER = (0xF993FAC8, 0xF993FAC9, 0xF993FACA)  # where older versions have the number of axes


def read_ndarrays(path: Path) -> dict[str, Tensor]:
    """The arrays of an MXNet file by their names, such as `arg:conv0_weight`.

    All numbers are little endian. A file is the magic number and a 0 (uint64), the number of arrays (uint64), the
    arrays, the number of names (uint64), and the names, each behind its length (uint64). An array is the number of axes
    and the length of each (uint32), the kind and the number of its device, its type (int32), and its elements.

    Raises netsuke.Error where the file is missing, damaged or of another kind. No memory is taken for what a damaged
    one claims to hold.
    """
    file = Pieces(path)
    magic, reserved, count = (int(n) for n in file.take(3, "<u8"))
    if (magic, reserved) != (LIST_MAGIC, 0):
        raise Error(f"{path} is no MXNet file of arrays: give a .params file that mx.nd.save wrote")
    arrays: list[Tensor] = []
    while len(arrays) < count:
        arrays.append(_array(file, len(arrays)))
    if int(file.take(1, "<u8")[0]) != count:
        raise Error(f"{path} is damaged, or has no names: its {count} arrays must have one each")
    tensors: dict[str, Tensor] = {}
    for number, array in enumerate(arrays):
        name = _name(file)
        if name is None or name in tensors:
            raise Error(f"{path} is damaged: the name of array {number} is no text, or another array's")
        tensors[name] = array
    file.done()
    return tensors


def _array(file: Pieces, number: int) -> Tensor:
    axes = int(file.take(1, "<u4")[0])
    if axes in NEWER:
        raise Error(f"{file.path} has the layout of a later MXNet, which is not read: only the oldest one is")
    if not 1 <= axes <= MOST_AXES:
        raise Error(f"{file.path} is damaged: array {number} has {axes} axes, not 1 to {MOST_AXES}")
    shape = [int(n) for n in file.take(axes, "<u4")]
    device, _, kind = (int(n) for n in file.take(3, "<i4"))
    if device not in DEVICES or not 0 <= kind < len(TYPES):
        raise Error(f"{file.path} is damaged: array {number} is of type {kind} on a device of kind {device}")
    elements = file.take(prod(shape), TYPES[kind])
    return torch.from_numpy(elements.astype(elements.dtype.newbyteorder("="))).view(shape)


def _name(file: Pieces) -> str | None:
    try:
        return file.take(int(file.take(1, "<u8")[0]), "u1").tobytes().decode()
    except UnicodeDecodeError:
        return None
