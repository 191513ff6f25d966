// The algorithm, once for every instruction set: an including file brings its flags, GCC's vectors do the rest. Lanes are
// channels. Nothing here may use the standard library (see kernels/all.inl).

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

inline F widen(H h) { return reinterpret_cast<F>(__builtin_convertvector(h, U) << 16); }
// To nearest, ties to even.
inline H narrow(F x) {
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

template <class T>
void moments_of(const Unit& u, const float* pivot, int64_t begin, int64_t end, float* sums) {
  each_block<T>(u.channels, begin, end, [&](auto maps, int64_t c, int64_t from, int64_t to) {
    const F p = maps.row(pivot, c);
    F sum{}, square{};
    for (int64_t x = from; x < to; ++x) {
      const F d = maps.get(u.z, x * u.channels + c) - p;
      sum += d, square += d * d;
    }
    maps.add(sums, c, sum), maps.add(sums + u.channels, c, square);
  });
}

struct Set {
  F beta, inverse, sign, high, low;  // u = (y - beta) * inverse; a = (y - beta) * sign >= 0 ? high : low
};

inline Set binary_set(const Unit& u) {
  const float alpha = *u.alpha, beta = *u.beta, gamma = u.published ? alpha * beta : beta;
  return {set1(beta), set1(1 / alpha), set1(alpha > 0 ? 1.f : alpha < 0 ? -1.f : 0.f), set1(gamma + alpha),
          set1(gamma - alpha)};
}

template <class T, bool add, bool binary>
void forward_of(const Unit& u, const Affine& affine, const Forward& f, int64_t begin, int64_t end) {
  Set set{};
  if (binary) set = binary_set(u);
  each_block<T>(u.channels, begin, end, [&](auto maps, int64_t c, int64_t from, int64_t to) {
    const F scale = maps.row(affine.scale, c), shift = maps.row(affine.shift, c);
    const F positive = u.positive ? maps.row(u.positive, c) : set1(1), negative = u.negative ? maps.row(u.negative, c) : set1(1);
    for (int64_t x = from; x < to; ++x) {
      const int64_t i = x * u.channels + c;
      F v = maps.get(u.z, i) * scale + shift;
      if (add) v += maps.get(u.r, i);
      const F y = v * select(v >= 0, positive, negative);
      if (f.y) maps.put(f.y, i, y);
      if (binary) maps.put(f.a, i, select((y - set.beta) * set.sign >= 0, set.high, set.low));
    }
  });
}

template <class T, bool add, bool binary>
void backward_of(const Unit& u, const Affine& affine, const Backward& b, int64_t begin, int64_t end, float* sums) {
  Set set{};
  F alpha_part{}, beta_part{};
  if (binary) {
    set = binary_set(u);
    alpha_part = u.published ? set.beta : F{};
    beta_part = u.published ? set1(*u.alpha) : set1(1);
  }
  each_block<T>(u.channels, begin, end, [&](auto maps, int64_t c, int64_t from, int64_t to) {
    const F scale = maps.row(affine.scale, c), shift = maps.row(affine.shift, c), mean = maps.row(u.mean, c);
    const F positive = u.positive ? maps.row(u.positive, c) : set1(1), negative = u.negative ? maps.row(u.negative, c) : set1(1);
    F sum_v{}, sum_vz{}, sum_positive{}, sum_negative{}, sum_alpha{}, sum_beta{};
    for (int64_t x = from; x < to; ++x) {
      const int64_t i = x * u.channels + c;
      const F z = maps.get(u.z, i);
      F v = z * scale + shift;
      if (add) v += maps.get(u.r, i);
      // At exactly 0 both rectifiers of the two slopes have slope 0.
      const F slope = u.positive ? select(v > 0, positive, select(v < 0, negative, F{})) : positive;
      F g = b.grad_y ? maps.get(b.grad_y, i) : F{};
      if (binary) {
        const F ga = maps.get(b.grad_a, i);
        const F d = v * slope - set.beta, s = d * set.inverse;
        const F estimate = max0(2 - 2 * magnitude(s));
        g += ga * estimate;
        const F one = set1(1);
        sum_alpha += ga * (select(d * set.sign >= 0, one, -one) + alpha_part - estimate * s);
        sum_beta += ga * (beta_part - estimate);
      }
      const F gv = g * slope, gy = g * v;
      maps.put(b.grad_v, i, gv);
      sum_v += gv, sum_vz += gv * (z - mean);
      sum_positive += select(v > 0, gy, F{}), sum_negative += select(v < 0, gy, F{});
    }
    const F parts[kSums] = {sum_v, sum_vz, sum_positive, sum_negative, sum_alpha, sum_beta};
    for (int k = 0; k < kSums; ++k) maps.add(sums + k * u.channels, c, parts[k]);
  });
}

template <class T>
void backward_norm_of(const Unit& u, const Backward& b, const float* a_, const float* b_, const float* c_, int64_t begin, int64_t end) {
  each_block<T>(u.channels, begin, end, [&](auto maps, int64_t c, int64_t from, int64_t to) {
    const F by_v = maps.row(a_, c), by_z = maps.row(b_, c), constant = maps.row(c_, c);
    for (int64_t x = from; x < to; ++x) {
      const int64_t i = x * u.channels + c;
      maps.put(b.grad_z, i, maps.get(b.grad_v, i) * by_v + maps.get(u.z, i) * by_z + constant);
    }
  });
}

void moments(const Unit& u, const float* pivot, int64_t begin, int64_t end, float* sums) {
  (u.half ? moments_of<uint16_t> : moments_of<float>)(u, pivot, begin, end, sums);
}

template <class T>
void forward_as(const Unit& u, const Affine& affine, const Forward& f, int64_t begin, int64_t end) {
  if (u.r)
    (u.alpha ? forward_of<T, true, true> : forward_of<T, true, false>)(u, affine, f, begin, end);
  else
    (u.alpha ? forward_of<T, false, true> : forward_of<T, false, false>)(u, affine, f, begin, end);
}

template <class T>
void backward_as(const Unit& u, const Affine& affine, const Backward& b, int64_t begin, int64_t end, float* sums) {
  const bool binary = u.alpha && b.grad_a;
  if (u.r)
    (binary ? backward_of<T, true, true> : backward_of<T, true, false>)(u, affine, b, begin, end, sums);
  else
    (binary ? backward_of<T, false, true> : backward_of<T, false, false>)(u, affine, b, begin, end, sums);
}

void forward(const Unit& u, const Affine& affine, const Forward& f, int64_t begin, int64_t end) {
  (u.half ? forward_as<uint16_t> : forward_as<float>)(u, affine, f, begin, end);
}

void backward(const Unit& u, const Affine& affine, const Backward& b, int64_t begin, int64_t end, float* sums) {
  (u.half ? backward_as<uint16_t> : backward_as<float>)(u, affine, b, begin, end, sums);
}

void backward_norm(const Unit& u, const Backward& b, const float* a_, const float* b_, const float* c_, int64_t begin, int64_t end) {
  (u.half ? backward_norm_of<uint16_t> : backward_norm_of<float>)(u, b, a_, b_, c_, begin, end);
}

constexpr netsuke::train::Kernels kKernels = {kIsa, moments, forward, backward, backward_norm};

}  // namespace
