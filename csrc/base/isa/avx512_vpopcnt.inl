// AVX-512 as of Ice Lake and Zen 4, with VPOPCNTDQ and VNNI: one instruction counts the bits of 16 lanes, one adds 4
// products of bytes to each. Included inside the anonymous namespace of the sets that have them.

constexpr netsuke::TileRows kBinaryTile = {14, 14, 6};

#include "base/isa/avx512_common.inl"

constexpr int kCountSteps = netsuke::kNoLimit;
using B = U;
inline B b_of(U x) { return x; }
inline U count_add(U acc, B w, B a) { return _mm512_add_epi32(acc, _mm512_popcnt_epi32(_mm512_xor_si512(w, a))); }
inline U count_add_masked(U acc, B w, B a, B m) {  // 0x28: (w ^ a) & m
  return _mm512_add_epi32(acc, _mm512_popcnt_epi32(_mm512_ternarylogic_epi32(w, a, m, 0x28)));
}
inline U count_total(U acc) { return acc; }

constexpr int kCodeOffset = 0;
constexpr netsuke::TileRows kInt8Tile = {8, 8, 6};
using C = U;
using Q = U;
inline C c_load(const uint32_t* p) { return u_load(p); }
inline Q q_broadcast(const uint8_t* p) { return u_broadcast(p); }
inline D d_dot(D acc, C w, Q q) { return _mm512_dpbusd_epi32(acc, q, w); }
