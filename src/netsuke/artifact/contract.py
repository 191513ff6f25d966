"""What trainer, exporter, reference and engine must agree on. Everybody may import this page.

One bit
    A binarized tensor takes two values. With s in {-1, +1}:
        weight       w = alpha_w * s_w + beta_w     per output channel
        activation   a = alpha_a * s_a + gamma      per layer
    sign(0) = +1. Bit 1 is +1, bit 0 is -1. Bits are packed least significant first:
    element i is bit (i & 7) of byte (i >> 3).

Padding
    Padding is a real zero, which is in neither binary set: padded taps add nothing to a convolution. A binary
    convolution may pad with s_a = +1, or with the nearest pixel of the image, instead; such taps count like others.

Rounding
    All arithmetic is IEEE 754 binary32, round to nearest even, in the order that docs/format.md writes down;
    `fma` rounds once. Every implementation therefore gives the same bits.
"""

from __future__ import annotations

SCHEMA_VERSION = 1

# Limits of a file. A reader refuses what lies outside, before it allocates anything for it.
MAX_HEADER_BYTES = 4096
MAX_GRAPH_BYTES = 1 << 22  # after inflation
MAX_JSON_DEPTH = 8
MAX_INTEGER = (1 << 31) - 1
MAX_NAME = 200  # characters of a model or node name
MAX_NODES = 1 << 16
MAX_INPUTS = 64  # of one concat
MAX_STEPS = 64  # in one epilogue
MAX_OUTPUTS = 64
MAX_CHANNELS = 1 << 16
MAX_EXTENT = 1 << 14  # height or width of a value
MAX_KERNEL = 255  # kernel, stride, dilation, each padding
MAX_WINDOW = 1 << 22  # kernel height x kernel width x input channels of a group: exact in a float32
MAX_INT8_WINDOW = 1 << 16  # the same of an int8 convolution: its sums stay below 2^31
MAX_FIXED_WINDOW = 1 << 15  # the same of a fixed-point one: its sums and a bias together stay below 2^31
MAX_BIAS = 1 << 30  # of a fixed-point convolution, in units of its sums
MAX_SHIFT = 30  # bits
MAX_EXPONENT = 32  # of a power of two that is a scale, of either sign
MAX_ELEMENTS = 1 << 24  # of one value, its channels rounded up to 16
MAX_TOTAL_ELEMENTS = 3 << 25  # of all values and outputs together, counted likewise
MAX_MACS = 1 << 38  # multiply-accumulates and epilogue steps of one image
MAX_PACKED = 1 << 26  # 32-bit words of all weights as an engine packs them (docs/format.md, section 3)
MAX_BORDER_TABLE = 1 << 22  # border classes x output channels rounded up to 16, summed over all binary convolutions
MAX_LABELS = 1 << 12  # of a detect
MAX_BOXES = 1 << 20  # default boxes of a detect; a box and its label are one number below 2^32
MAX_SHARED = 1 << 22  # by how much the ranges of a tensor may together exceed it


class Error(Exception):
    """An error meant for the user: one or two lines that say what is wrong and what to do."""


def first_line(error: BaseException, limit: int = 200) -> str:
    """What `error` says, for use inside an Error: its first line that is not empty, else the name of its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:limit] if lines else type(error).__name__
