"""The instruction sets that the engine has kernels for, available here or not. A new kernel file adds a name."""

ISAS = ("scalar", "avx2", "avx512", "avx512vpopcnt", "neon")
