// AVX2 with FMA. There is no vector popcount: bytes are counted by looking up their halves, which weights
// and windows are cut into once for a whole tile, and stay bytes for as many steps as a byte can hold.
#include <immintrin.h>

#include "kernels/kernels.h"

namespace {

constexpr const char* kIsa = "avx2";
constexpr int L = 8, kWidest = 2;
constexpr netsuke::TileRows kBinaryTile = {6, 4, 0};
constexpr netsuke::TileRows kFloatTile = {8, 6, 0};

using F = __m256;
using U = __m256i;

inline F f_load(const float* p) { return _mm256_loadu_ps(p); }
inline void f_store(float* p, F a) { _mm256_storeu_ps(p, a); }
inline F f_gather(const float* p, const uint16_t* index) {
  return _mm256_i32gather_ps(p, _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(index))), 4);
}
inline F f_pick(F table, U u) { return _mm256_permutevar_ps(table, u); }
inline F f_set1(float x) { return _mm256_set1_ps(x); }
inline F f_add(F a, F b) { return _mm256_add_ps(a, b); }
inline F f_mul(F a, F b) { return _mm256_mul_ps(a, b); }
inline F f_div(F a, F b) { return _mm256_div_ps(a, b); }
inline F f_fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
inline F f_max(F a, F b) { return _mm256_max_ps(a, b); }
inline F f_min(F a, F b) { return _mm256_min_ps(a, b); }
inline F f_two_slope(F y, F p, F n) {
  return _mm256_mul_ps(y, _mm256_blendv_ps(n, p, _mm256_cmp_ps(y, _mm256_setzero_ps(), _CMP_GE_OQ)));
}
inline uint32_t f_ge(F a, F b) { return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ))); }
inline uint32_t f_le(F a, F b) { return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LE_OQ))); }

inline F f_choose(const uint8_t* p, F one, F zero) {  // each lane's bit to where its sign is
  const U signs = _mm256_sllv_epi32(_mm256_set1_epi32(*p), _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24));
  return _mm256_blendv_ps(zero, one, _mm256_castsi256_ps(signs));
}

inline U u_load(const uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const U*>(p)); }
inline void u_store(void* p, U a) { _mm256_storeu_si256(static_cast<U*>(p), a); }
inline U u_set1(uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
inline U u_broadcast(const uint8_t* p) {
  int x;
  __builtin_memcpy(&x, p, 4);
  return _mm256_set1_epi32(x);
}
inline U u_zero() { return _mm256_setzero_si256(); }
inline U u_add(U a, U b) { return _mm256_add_epi32(a, b); }
inline U u_and(U a, U b) { return _mm256_and_si256(a, b); }
inline U u_mul(U a, U b) { return _mm256_mullo_epi32(a, b); }
inline U u_shl(U a, U n) { return _mm256_sllv_epi32(a, n); }
inline U u_sra(U a, U n) { return _mm256_srav_epi32(a, n); }
inline U i_max(U a, U b) { return _mm256_max_epi32(a, b); }
inline U i_min(U a, U b) { return _mm256_min_epi32(a, b); }
inline U u_load_codes(const uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline void u_store_codes(uint8_t* p, U words, int count) {
  const __m128i shorts = _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  const long long bytes = _mm_cvtsi128_si64(_mm_packus_epi16(shorts, shorts));
  __builtin_memcpy(p, &bytes, static_cast<size_t>(count));
}
inline F f_from_i32(U a) { return _mm256_cvtepi32_ps(a); }
inline F f_pow2(F k) {
  return _mm256_castsi256_ps(u_add(_mm256_slli_epi32(_mm256_castps_si256(k), 23), u_set1(0x3f800000u)));
}

constexpr int kCountSteps = 31;  // 31 * 8 bits <= 255
struct B {
  U low, high;
};
inline B b_of(U x) {
  const U half = _mm256_set1_epi8(15);
  return {_mm256_and_si256(x, half), _mm256_and_si256(_mm256_srli_epi16(x, 4), half)};
}
inline U halves_add(U acc, U low, U high) {
  const U table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                   0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  return _mm256_add_epi8(acc, _mm256_add_epi8(_mm256_shuffle_epi8(table, low), _mm256_shuffle_epi8(table, high)));
}
inline U count_add(U acc, B w, B a) {
  return halves_add(acc, _mm256_xor_si256(w.low, a.low), _mm256_xor_si256(w.high, a.high));
}
inline U count_add_masked(U acc, B w, B a, B m) {
  return halves_add(acc, _mm256_and_si256(_mm256_xor_si256(w.low, a.low), m.low),
                    _mm256_and_si256(_mm256_xor_si256(w.high, a.high), m.high));
}
inline U count_total(U acc) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(acc, _mm256_set1_epi8(1)), _mm256_set1_epi16(1));
}

// Products of bytes as products of 16-bit numbers, even bytes and odd ones apart: maddubs would saturate.
constexpr int kCodeOffset = 0;
constexpr netsuke::TileRows kInt8Tile = {4, 3, 0};
using D = U;
struct C {
  U even, odd;
};
using Q = C;
inline D d_zero() { return u_zero(); }
inline C c_load(const uint32_t* p) {
  const U w = u_load(p);
  return {_mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), _mm256_srai_epi16(w, 8)};
}
inline Q q_broadcast(const uint8_t* p) {
  const U q = u_broadcast(p);
  return {_mm256_and_si256(q, _mm256_set1_epi16(255)), _mm256_srli_epi16(q, 8)};
}
inline D d_dot(D acc, C w, Q q) {
  return u_add(acc, u_add(_mm256_madd_epi16(w.even, q.even), _mm256_madd_epi16(w.odd, q.odd)));
}
inline U d_total(D acc) { return acc; }

#define NETSUKE_NARROW
constexpr int kNarrow = 64;  // 2 * 64 * 255 < 2^15
constexpr netsuke::TileRows kNarrowTile = {6, 4, 0};
inline D n_dot(D acc, U w, U q) {
  return u_add(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(q, w), _mm256_set1_epi16(1)));
}

inline void f_store_codes(uint8_t* p, F y, int count) { u_store_codes(p, _mm256_cvtps_epi32(y), count); }  // to nearest even

}  // namespace

#include "kernels/all.inl"

const netsuke::Kernels& netsuke::avx2_kernels() { return kKernels; }
