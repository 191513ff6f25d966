// AVX-512 as of Ice Lake and Zen 4, with VPOPCNTDQ and VNNI: one instruction counts the bits of 16 lanes, one adds 4
// products of bytes to each.
#include <immintrin.h>

#include "kernels/kernels.h"

namespace {

constexpr const char* kIsa = "avx512vpopcnt";
constexpr int kBinaryRows4 = 6, kBinaryRows2 = 14, kBinaryRows1 = 14;

#include "base/isa/avx512_common.inl"

constexpr int kCountSteps = 1 << 30;
inline U count_add(U acc, U x) { return _mm512_add_epi32(acc, _mm512_popcnt_epi32(x)); }
inline U count_total(U acc) { return acc; }

constexpr int kCodeOffset = 0, kInt8Rows4 = 6, kInt8Rows2 = 8, kInt8Rows1 = 8;
using C = U;
using Q = U;
inline C c_load(const uint32_t* p) { return u_load(p); }
inline Q q_broadcast(const uint8_t* p) { return u_broadcast(p); }
inline D d_dot(D acc, C w, Q q) { return _mm512_dpbusd_epi32(acc, q, w); }

}  // namespace

#include "kernels/all.inl"

const netsuke::Kernels& netsuke::avx512vpopcnt_kernels() { return kKernels; }
