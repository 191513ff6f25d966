// AVX-512 with VPOPCNTDQ and VNNI, and 8-bit convolutions on AMX tiles: 16 windows of 64 bytes times 64 bytes of 16
// channels an instruction. Bits stay with the popcount: as bytes they are eight times the memory, and the tile unit is
// not eight times as fast.
#include <immintrin.h>

#include "kernels/kernels.h"

#define NETSUKE_TILES

namespace {

constexpr const char* kIsa = "amx";

#include "base/isa/avx512_vpopcnt.inl"
#ifdef NETSUKE_EMULATE_TILES
#include "base/isa/tiles_emulated.inl"
#else
#include "base/isa/tiles.inl"
#endif

}  // namespace

#include "kernels/all.inl"

const netsuke::Kernels& netsuke::amx_kernels() { return kKernels; }
