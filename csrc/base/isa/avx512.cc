// AVX-512 (F, BW, DQ, VL) without a vector popcount: bytes are counted as in avx2.cc, 64 at a time.
#include <immintrin.h>

#include "kernels/kernels.h"

namespace {

constexpr const char* kIsa = "avx512";
constexpr netsuke::TileRows kBinaryTile = {14, 8, 5};

#include "base/isa/avx512_common.inl"

constexpr int kCountSteps = 31;  // 31 * 8 bits <= 255
struct B {
  U low, high;
};
inline B b_of(U x) {
  const U half = _mm512_set1_epi8(15);
  return {_mm512_and_si512(x, half), _mm512_and_si512(_mm512_srli_epi16(x, 4), half)};
}
inline U halves_add(U acc, U low, U high) {
  const U table = _mm512_set4_epi32(0x04030302, 0x03020201, 0x03020201, 0x02010100);
  return _mm512_add_epi8(acc, _mm512_add_epi8(_mm512_shuffle_epi8(table, low), _mm512_shuffle_epi8(table, high)));
}
inline U count_add(U acc, B w, B a) {
  return halves_add(acc, _mm512_xor_si512(w.low, a.low), _mm512_xor_si512(w.high, a.high));
}
inline U count_add_masked(U acc, B w, B a, B m) {  // 0x28: (w ^ a) & m
  return halves_add(acc, _mm512_ternarylogic_epi32(w.low, a.low, m.low, 0x28),
                    _mm512_ternarylogic_epi32(w.high, a.high, m.high, 0x28));
}
inline U count_total(U acc) {
  return _mm512_madd_epi16(_mm512_maddubs_epi16(acc, _mm512_set1_epi8(1)), _mm512_set1_epi16(1));
}

// As in AVX2: products of bytes as products of 16-bit numbers, even bytes and odd ones apart.
constexpr int kCodeOffset = 0;
constexpr netsuke::TileRows kInt8Tile = {8, 6, 4};
struct C {
  U even, odd;
};
using Q = C;
inline C c_load(const uint32_t* p) {
  const U w = u_load(p);
  return {_mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8), _mm512_srai_epi16(w, 8)};
}
inline Q q_broadcast(const uint8_t* p) {
  const U q = u_broadcast(p);
  return {_mm512_and_si512(q, _mm512_set1_epi16(255)), _mm512_srli_epi16(q, 8)};
}
inline D d_dot(D acc, C w, Q q) {
  return u_add(acc, u_add(_mm512_madd_epi16(w.even, q.even), _mm512_madd_epi16(w.odd, q.odd)));
}

#define NETSUKE_NARROW
constexpr int kNarrow = 64;  // 2 * 64 * 255 < 2^15
constexpr netsuke::TileRows kNarrowTile = {14, 10, 6};
inline D n_dot(D acc, U w, U q) {
  return u_add(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(q, w), _mm512_set1_epi16(1)));
}

}  // namespace

#include "kernels/all.inl"

const netsuke::Kernels& netsuke::avx512_kernels() { return kKernels; }
