// AVX2 with FMA. There is no vector popcount: bytes are counted by looking up their halves, and stay bytes for as
// many steps as a byte can hold.
#include <immintrin.h>

#include "kernels/kernels.h"

namespace {

constexpr const char* kIsa = "avx2";
constexpr int L = 8;
constexpr int kBinaryRows4 = 2, kBinaryRows2 = 4, kBinaryRows1 = 8;
constexpr int kFloatRows4 = 3, kFloatRows2 = 6, kFloatRows1 = 8;

using F = __m256;
using U = __m256i;

inline F f_load(const float* p) { return _mm256_loadu_ps(p); }
inline void f_store(float* p, F a) { _mm256_storeu_ps(p, a); }
inline F f_set1(float x) { return _mm256_set1_ps(x); }
inline F f_add(F a, F b) { return _mm256_add_ps(a, b); }
inline F f_div(F a, F b) { return _mm256_div_ps(a, b); }
inline F f_fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
inline F f_max(F a, F b) { return _mm256_max_ps(a, b); }
inline F f_min(F a, F b) { return _mm256_min_ps(a, b); }
inline F f_two_slope(F y, F p, F n) {
  return _mm256_mul_ps(y, _mm256_blendv_ps(n, p, _mm256_cmp_ps(y, _mm256_setzero_ps(), _CMP_GE_OQ)));
}
inline uint32_t f_ge(F a, F b) { return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ))); }
inline uint32_t f_le(F a, F b) { return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LE_OQ))); }

inline U u_load(const uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const U*>(p)); }
inline void u_store(int32_t* p, U a) { _mm256_storeu_si256(reinterpret_cast<U*>(p), a); }
inline U u_set1(uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
inline U u_zero() { return _mm256_setzero_si256(); }
inline U u_xor(U a, U b) { return _mm256_xor_si256(a, b); }
inline U u_add(U a, U b) { return _mm256_add_epi32(a, b); }
inline U u_sub(U a, U b) { return _mm256_sub_epi32(a, b); }
inline F f_from_i32(U a) { return _mm256_cvtepi32_ps(a); }

constexpr int kCountSteps = 31;  // 31 * 8 bits <= 255
inline U count_add(U acc, U x) {
  const U table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                   0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const U half = _mm256_set1_epi8(15);
  const U low = _mm256_shuffle_epi8(table, _mm256_and_si256(x, half));
  const U high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), half));
  return _mm256_add_epi8(acc, _mm256_add_epi8(low, high));
}
inline U count_total(U acc) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(acc, _mm256_set1_epi8(1)), _mm256_set1_epi16(1));
}

}  // namespace

#include "kernels/all.inl"

const netsuke::Kernels& netsuke::avx2_kernels() { return kKernels; }
