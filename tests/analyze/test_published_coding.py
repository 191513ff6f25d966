"""Deep Compression's own coding: relative indices, Huffman codes, sizes by part."""

from __future__ import annotations

import constriction
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import netsuke
from netsuke import Error
from netsuke.analyze.published_coding import (
    from_relative_indices,
    huffman_lengths,
    published_coding,
    relative_indices,
)


def test_the_papers_example_has_a_filler() -> None:
    """Figure 2: weights at 1, 4 and 15 with 3 bits; from 4 to 15 a filler is needed."""
    codes = np.zeros(16, np.int64)
    codes[[1, 4, 15]] = 34, 9, 17
    gaps, made = relative_indices(codes, 3)
    assert gaps.tolist() == [1, 2, 7, 2]
    assert made.tolist() == [34, 9, 0, 17]


@given(st.lists(st.sampled_from([0, 0, 0, 0, 0, 1, 2]), max_size=200), st.integers(1, 6))
def test_relative_indices_come_back(codes: list[int], bits: int) -> None:
    before = np.array(codes, np.int64)
    gaps, made = relative_indices(before, bits)
    assert ((gaps >= 0) & (gaps < 1 << bits)).all()
    assert (gaps[made == 0] == (1 << bits) - 1).all()
    np.testing.assert_array_equal(from_relative_indices(gaps, made, len(before)), before)


def test_gaps_past_the_end_are_refused() -> None:
    with pytest.raises(Error, match="place 9 of 9"):
        from_relative_indices(np.array([4, 4]), np.array([1, 1]), 9)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40).filter(any))
def test_huffman_codes_are_prefix_free_and_as_short_as_another_implementation_has_them(counts: list[int]) -> None:
    lengths = huffman_lengths(np.array(counts))
    used = [n for n in counts if n]
    if len(used) > 1:
        assert sum(2.0 ** -int(n) for n in lengths if n) == 1  # Kraft's sum: a full code
        tree = constriction.symbol.huffman.EncoderHuffmanTree(np.array(used, np.float64) / sum(used))
        total = 0
        for symbol, count in enumerate(used):
            coder = constriction.symbol.QueueEncoder()
            coder.encode_symbol(symbol, tree)
            total += count * coder.get_compressed()[1]
        assert int(lengths @ np.array(counts)) == total


def test_sizes_by_part() -> None:
    torch.manual_seed(0)
    model = netsuke.share(
        netsuke.prune(nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 4)), sparsity=0.9), 4
    )
    found = published_coding(model, gap_bits=4)
    first, second = found.layers
    assert (first.weights, first.kept, second.weights, second.kept) == (5000, 500, 200, 20)
    assert first.entries > 500
    symbols = len(model[0].weight.unique())  # k-means leaves empty clusters out, so not always 16
    assert first.code_bits[0] == (symbols - 1).bit_length()
    assert first.code_bits[0] - 1.5 < first.code_bits[1] <= first.code_bits[0]
    assert (first.codebook, first.biases, first.tables) == (4 * symbols, 200, symbols + 16)
    assert first.total == first.codes + first.gaps + symbols + 16 + 4 * symbols + 200
    assert first.plain == -(-first.entries * (first.code_bits[0] + 4) // 8) + 4 * symbols + 200
    assert found.total == first.total + second.total
    assert f"{found.total:,} bytes" in str(found)
    with pytest.raises(Error, match="share them first"):
        published_coding(nn.Linear(100, 50))
