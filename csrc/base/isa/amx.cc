// 8-bit convolutions on AMX tiles: 16 windows of 64 bytes times 64 bytes of 16 channels
// an instruction. Bits stay with the popcount: as bytes they are eight times the memory, and the tile unit is not eight
// times as fast.
#include <immintrin.h>

#include "kernels/kernels.h"

#define NETSUKE_TILES

namespace {

#include "base/isa/avx512_vpopcnt.inl"

// Tiles: 8 registers of up to 16 rows of 64 bytes. Their shapes are set for the whole thread, in this form.
struct TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

#ifdef NETSUKE_EMULATE_TILES
#include "base/isa/tiles_emulated.inl"
#else
#include "base/isa/tiles.inl"
#endif

}  // namespace

#include "kernels/conv/walk.inl"
#include "kernels/epilogue/sigmoid.inl"
#include "kernels/epilogue/epilogue.inl"
#include "kernels/epilogue/fixed.inl"
#include "kernels/conv/tile.inl"
#include "kernels/int8_conv/int8_conv.inl"

// The rest of the table is that of avx512vpopcnt: base/cpu.cc puts the two together, for what runs before the processor is
// known must not be compiled with these flags.
namespace {
constexpr netsuke::Kernels kKernels = {
    "amx",     L,       kWidest, kHasTiles, kCodeOffset, kNarrow, nullptr, nullptr, nullptr, nullptr,
    int8_conv, nullptr, nullptr, nullptr,   nullptr,     nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
    nullptr,   nullptr, nullptr, nullptr,   int8_loop};
}

const netsuke::Kernels& netsuke::amx_kernels() { return kKernels; }
