"""An estimate of energy from a published table of single operations."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = (
    "Horowitz 2014, Computing's Energy Problem (and what we can do about it), ISSCC, figure 1.1.9: 45 nm, 0.9 V, "
    "rough figures"
)
ADD_INT8 = 0.03  # pJ
ADD_INT32 = 0.1
MULTIPLY_INT8 = 0.2
ADD_FLOAT32 = 0.9
MULTIPLY_FLOAT32 = 3.7
SRAM_1MB = 100 / 64  # pJ a bit: a 64-bit word of a cache of 1 MB
DRAM = 1300 / 64  # pJ a bit: the lower end of 1.3 to 2.6 nJ a 64-bit word

FLOAT_MAC = ADD_FLOAT32 + MULTIPLY_FLOAT32
INT8_MAC = ADD_INT32 + MULTIPLY_INT8
BINARY_MAC = 2 * ADD_INT8 / 8  # the table has no gates: XNOR and count are taken for a bit of an 8-bit addition each
ON_CHIP_BITS = 8 * 2**20  # what the cache of the table holds


@dataclass(frozen=True)
class Energy:
    """Picojoules. compute: arithmetic. on_chip: maps through a cache of 1 MB. off_chip: DRAM, for weights and for maps
    that the cache cannot hold."""

    compute: float = 0.0
    on_chip: float = 0.0
    off_chip: float = 0.0

    @property
    def total(self) -> float:
        return self.compute + self.on_chip + self.off_chip

    def __add__(self, other: Energy) -> Energy:
        return Energy(self.compute + other.compute, self.on_chip + other.on_chip, self.off_chip + other.off_chip)


def arithmetic(binary_macs: int = 0, float_macs: int = 0, int8_macs: int = 0) -> Energy:
    """Of multiply-accumulates: float ones in float32, binary ones as a XNOR and a count, 8-bit ones summed in 32."""
    return Energy(compute=binary_macs * BINARY_MAC + float_macs * FLOAT_MAC + int8_macs * INT8_MAC)


def maps(bits_read: int, bits_written: int) -> Energy:
    """Of a layer's input, read once, and its output, written once: in the cache if both fit, else in DRAM."""
    bits = bits_read + bits_written
    return Energy(on_chip=bits * SRAM_1MB) if bits <= ON_CHIP_BITS else Energy(off_chip=bits * DRAM)


def weights(bits: int) -> Energy:
    """Of parameters, read once from DRAM for a forward, as one image at a time needs."""
    return Energy(off_chip=bits * DRAM)
