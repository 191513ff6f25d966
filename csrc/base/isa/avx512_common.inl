// What the two AVX-512 sets share: everything but the popcount. Included inside their anonymous namespace.

constexpr int L = 16, kWidest = 4;
constexpr netsuke::TileRows kFloatTile = {14, 12, 6};

using F = __m512;
using U = __m512i;

inline F f_load(const float* p) { return _mm512_loadu_ps(p); }
inline void f_store(float* p, F a) { _mm512_storeu_ps(p, a); }
inline F f_gather(const float* p, const uint16_t* index) {
  return _mm512_i32gather_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(index))), p, 4);
}
inline F f_pick(F table, U u) { return _mm512_permutevar_ps(table, u); }
inline F f_set1(float x) { return _mm512_set1_ps(x); }
inline F f_add(F a, F b) { return _mm512_add_ps(a, b); }
inline F f_mul(F a, F b) { return _mm512_mul_ps(a, b); }
inline F f_div(F a, F b) { return _mm512_div_ps(a, b); }
inline F f_fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
inline F f_max(F a, F b) { return _mm512_max_ps(a, b); }
inline F f_min(F a, F b) { return _mm512_min_ps(a, b); }
inline F f_two_slope(F y, F p, F n) {
  return _mm512_mul_ps(y, _mm512_mask_blend_ps(_mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_GE_OQ), n, p));
}
inline uint32_t f_ge(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
inline uint32_t f_le(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }

inline F f_choose(const uint8_t* p, F one, F zero) {
  __mmask16 bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return _mm512_mask_blend_ps(bits, zero, one);
}

inline U u_load(const uint32_t* p) { return _mm512_loadu_si512(p); }
inline void u_store(void* p, U a) { _mm512_storeu_si512(p, a); }
inline U u_set1(uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
inline U u_broadcast(const uint8_t* p) {
  int x;
  __builtin_memcpy(&x, p, 4);
  return _mm512_set1_epi32(x);
}
inline U u_zero() { return _mm512_setzero_si512(); }
inline U u_add(U a, U b) { return _mm512_add_epi32(a, b); }
inline U u_and(U a, U b) { return _mm512_and_si512(a, b); }
inline U u_mul(U a, U b) { return _mm512_mullo_epi32(a, b); }
inline U u_shl(U a, U n) { return _mm512_sllv_epi32(a, n); }
inline U u_sra(U a, U n) { return _mm512_srav_epi32(a, n); }
inline U i_max(U a, U b) { return _mm512_max_epi32(a, b); }
inline U i_min(U a, U b) { return _mm512_min_epi32(a, b); }
inline U u_load_codes(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline void u_store_codes(uint8_t* p, U words, int count) {
  _mm_mask_storeu_epi8(p, static_cast<__mmask16>((1u << count) - 1), _mm512_cvtepi32_epi8(words));
}
inline F f_from_i32(U a) { return _mm512_cvtepi32_ps(a); }
inline F f_pow2(F k) {
  return _mm512_castsi512_ps(u_add(_mm512_slli_epi32(_mm512_castps_si512(k), 23), u_set1(0x3f800000u)));
}

using D = U;
inline D d_zero() { return u_zero(); }
inline U d_total(D acc) { return acc; }

inline void f_store_codes(uint8_t* p, F y, int count) { u_store_codes(p, _mm512_cvtps_epi32(y), count); }  // to nearest even
