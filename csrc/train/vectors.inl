// Vectors of 16 floats in GCC's portable form: the flags of the including file decide what they become. Nothing here or in
// the files behind it may use the standard library (see kernels/all.inl).

namespace {

constexpr int L = 16;
constexpr int64_t kTile = 64;  // pixels whose maps stay in the first cache while the blocks of channels take turns

typedef float F __attribute__((vector_size(4 * L), aligned(4)));
typedef int32_t I __attribute__((vector_size(4 * L), aligned(4)));
typedef uint32_t U __attribute__((vector_size(4 * L), aligned(4)));
typedef uint16_t H __attribute__((vector_size(2 * L), aligned(2)));

inline F set1(float x) { return F{} + x; }
inline F select(I mask, F a, F b) { return reinterpret_cast<F>((mask & reinterpret_cast<I>(a)) | (~mask & reinterpret_cast<I>(b))); }
inline F max0(F x) { return select(x > 0, x, F{}); }
inline F magnitude(F x) { return reinterpret_cast<F>(reinterpret_cast<I>(x) & 0x7fffffff); }

// Bit i of the result is lane i of a comparison.
inline uint16_t bits_of(I mask) {
#if defined(__AVX512DQ__)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask));
#elif defined(__AVX2__)
  __m256 half[2];
  __builtin_memcpy(half, &mask, sizeof half);
  return static_cast<uint16_t>(_mm256_movemask_ps(half[0]) | _mm256_movemask_ps(half[1]) << 8);
#else
  uint32_t bits = 0;
  for (int i = 0; i < L; ++i) bits |= static_cast<uint32_t>(mask[i] & 1) << i;
  return static_cast<uint16_t>(bits);
#endif
}

inline F widen(H h) { return reinterpret_cast<F>(__builtin_convertvector(h, U) << 16); }
// To nearest, ties to even.
inline H narrow(F x) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<H>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(x)));
#endif
  const U u = reinterpret_cast<U>(x);
  return __builtin_convertvector((u + 0x7fff + ((u >> 16) & 1)) >> 16, H);
}

// `count` elements from index i of a map; past them the lanes are 0.
inline F load(const float* p, int64_t i, int) { F x; __builtin_memcpy(&x, p + i, sizeof x); return x; }
inline F load(const uint16_t* p, int64_t i, int) { H x; __builtin_memcpy(&x, p + i, sizeof x); return widen(x); }
inline void store(float* p, int64_t i, F x, int) { __builtin_memcpy(p + i, &x, sizeof x); }
inline void store(uint16_t* p, int64_t i, F x, int) { const H h = narrow(x); __builtin_memcpy(p + i, &h, sizeof h); }

template <class T>
inline F load_some(const T* p, int64_t i, int count) {
  T some[L] = {};
  for (int k = 0; k < count; ++k) some[k] = p[i + k];
  return load(some, 0, L);
}
template <class T>
inline void store_some(T* p, int64_t i, F x, int count) {
  T some[L];
  store(some, 0, x, L);
  for (int k = 0; k < count; ++k) p[i + k] = some[k];
}

template <class T, bool whole>
struct Maps {
  int count;
  template <class Other>
  Maps<Other, whole> as() const { return {count}; }
  // x in the lanes that are there, 0 in the others.
  F only(F x) const {
    if (!whole)
      for (int k = count; k < L; ++k) x[k] = 0;
    return x;
  }
  F get(const void* p, int64_t i) const {
    return whole ? load(static_cast<const T*>(p), i, L) : load_some(static_cast<const T*>(p), i, count);
  }
  void put(void* p, int64_t i, F x) const {
    whole ? store(static_cast<T*>(p), i, x, L) : store_some(static_cast<T*>(p), i, x, count);
  }
  F row(const float* p, int64_t c) const { return whole ? load(p, c, L) : load_some(p, c, count); }
  void add(float* p, int64_t c, F x) const {
    whole ? store(p, c, load(p, c, L) + x, L) : store_some(p, c, load_some(p, c, count) + x, count);
  }
};

// body(maps, channel, first pixel, last pixel) for every tile of [begin, end) and block of channels.
template <class T, class Body>
inline void each_block(int64_t channels, int64_t begin, int64_t end, Body body) {
  for (int64_t from = begin; from < end; from += kTile) {
    const int64_t to = from + kTile < end ? from + kTile : end;
    int64_t c = 0;
    for (; c + L <= channels; c += L) body(Maps<T, true>{L}, c, from, to);
    if (c < channels) body(Maps<T, false>{static_cast<int>(channels - c)}, c, from, to);
  }
}

}  // namespace
