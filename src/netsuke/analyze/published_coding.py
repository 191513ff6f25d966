"""What a pruned and shared network takes in the coding that Deep Compression published (Han et al. 2016): relative
indices with filler zeros, and Huffman codes of weights and of indices. Our own files code better (docs/coding.md); this
is what they compare with.
"""

from __future__ import annotations

import copy
import heapq
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from netsuke.artifact.contract import Error
from netsuke.nn.targets import weighted
from netsuke.nn.weights import bake


def relative_indices(codes: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(gaps, codes) of the codes that are not 0: gap g of `bits` bits means that g zeros stand before the code.

    Where more zeros stand there, a filler, the largest gap with a code of 0, takes 2^bits places (section 2, figure 2).
    codes: whole numbers of 0 or more, any shape, read in C order. Zeros behind the last other one are not written.
    """
    flat = codes.reshape(-1)
    places = np.flatnonzero(flat)
    zeros = np.diff(places, prepend=-1) - 1
    fillers = zeros >> bits
    ends = np.cumsum(fillers + 1)
    gaps = np.full(int(ends[-1]) if len(ends) else 0, (1 << bits) - 1)
    made = np.zeros(len(gaps), flat.dtype)
    gaps[ends - 1], made[ends - 1] = zeros & ((1 << bits) - 1), flat[places]
    return gaps, made


def from_relative_indices(gaps: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
    """The (count,) codes that these stand for. Raises netsuke.Error for gaps that lead past the end."""
    places = np.cumsum(gaps + 1) - 1
    if len(places) and places[-1] >= count:
        raise Error(f"the gaps lead to place {int(places[-1])} of {count}")
    made = np.zeros(count, codes.dtype)
    made[places] = codes
    return made


def huffman_lengths(counts: np.ndarray) -> np.ndarray:
    """Bits of each symbol's code, 0 for those that do not occur. counts: how often each does."""
    lengths = np.zeros(len(counts), np.int64)
    heap = [(int(n), s, [s]) for s, n in enumerate(counts) if n]
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, i, few), (b, _, more) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[few + more] += 1
        heapq.heappush(heap, (a + b, i, few + more))
    return lengths


@dataclass(frozen=True)
class LayerCoding:
    """weights, kept: numbers. entries: kept and fillers. code_bits, gap_bits: of an entry in whole bits, and as Huffman
    codes on average. sizes in bytes, with the Huffman codes: codes, gaps, tables (a byte a symbol: the length of its
    code), codebook (float32, with 0), biases (float32)."""

    name: str
    weights: int
    kept: int
    entries: int
    code_bits: tuple[int, float]
    gap_bits: tuple[int, float]
    codes: int
    gaps: int
    tables: int
    codebook: int
    biases: int

    @property
    def plain(self) -> int:
        """Bytes without Huffman codes."""
        return -(-self.entries * (self.code_bits[0] + self.gap_bits[0]) // 8) + self.codebook + self.biases

    @property
    def total(self) -> int:
        """Bytes with them."""
        return self.codes + self.gaps + self.tables + self.codebook + self.biases


@dataclass
class PublishedCoding:
    """str() is the paper's table of a network's layers (tables 2 and 3)."""

    layers: list[LayerCoding] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Bytes of all layers, Huffman coded."""
        return sum(layer.total for layer in self.layers)

    def __str__(self) -> str:
        width = max(len(layer.name) for layer in self.layers)
        lines = [
            f"{'layer':<{width}}  weights  kept %  code bits  gap bits      codes   gaps  tables  codebook  biases  "
            " bytes"
        ]
        for x in self.layers:
            lines.append(
                f"{x.name:<{width}}  {x.weights:7,}  {100 * x.kept / x.weights:6.1f}  {x.code_bits[0]:2} -> "
                f"{x.code_bits[1]:3.1f}  {x.gap_bits[0]:2} -> {x.gap_bits[1]:3.1f}  {x.codes:9,}  {x.gaps:5,}  "
                f"{x.tables:6,}  {x.codebook:8,}  {x.biases:6,}  {x.total:6,}"
            )
        plain = sum(layer.plain for layer in self.layers)
        lines.append(f"{self.total:,} bytes, without Huffman codes {plain:,}")
        return "\n".join(lines)


def published_coding(model: nn.Module, gap_bits: int = 5) -> PublishedCoding:
    """What the weights and biases of the convolutions and linear layers take, layer by layer.

    gap_bits: of a relative index; the paper's tables have 5 (LeNet, VGG) or 4 (AlexNet) for every layer.
    Raises netsuke.Error for a layer with more than 4096 different weights: share them first.
    """
    found = PublishedCoding()
    for name, layer in weighted(bake(copy.deepcopy(model))).items():
        weight = layer.weight.detach().cpu().numpy()
        values = np.unique(weight[weight != 0])
        if len(values) > 4096:
            raise Error(f"{name} has {len(values):,} different weights: share them first (netsuke.share)")
        codes = np.where(weight == 0, 0, np.searchsorted(values, weight) + 1)
        gaps, entries = relative_indices(codes, gap_bits)
        width = int(len(values)).bit_length()
        parts, bits = [], []
        for symbols, most in ((entries, len(values) + 1), (gaps, 1 << gap_bits)):
            counts = np.bincount(symbols, minlength=most)
            bits.append(int(counts @ huffman_lengths(counts)))
            parts.append(-(-bits[-1] // 8))
        n = max(1, len(entries))
        found.layers.append(
            LayerCoding(
                name, weight.size, int((codes > 0).sum()), len(entries), (width, bits[0] / n), (gap_bits, bits[1] / n),
                parts[0], parts[1], len(values) + 1 + (1 << gap_bits), 4 * (len(values) + 1),
                0 if layer.bias is None else 4 * layer.bias.numel(),
            )
        )  # fmt: skip
    if not found.layers:
        raise Error(f"{type(model).__name__} has no convolution and no linear layer")
    return found
