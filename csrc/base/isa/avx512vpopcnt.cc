// AVX-512 with VPOPCNTDQ: one instruction counts the bits of 16 lanes.
#include <immintrin.h>

#include "kernels/kernels.h"

namespace {

constexpr const char* kIsa = "avx512vpopcnt";
constexpr int kBinaryRows4 = 6, kBinaryRows2 = 14, kBinaryRows1 = 14;

#include "base/isa/avx512_common.inl"

constexpr int kCountSteps = 1 << 30;
inline U count_add(U acc, U x) { return _mm512_add_epi32(acc, _mm512_popcnt_epi32(x)); }
inline U count_total(U acc) { return acc; }

}  // namespace

#include "kernels/all.inl"

const netsuke::Kernels& netsuke::avx512vpopcnt_kernels() { return kKernels; }
