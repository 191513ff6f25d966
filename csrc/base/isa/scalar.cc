// Portable C++: what every other instruction set must equal, and what runs where none of them does.
#include "kernels/kernels.h"

namespace {

constexpr const char* kIsa = "scalar";
constexpr int L = 8, kWidest = 2;
constexpr netsuke::TileRows kBinaryTile = {2, 1, 0};
constexpr netsuke::TileRows kFloatTile = {2, 1, 0};

struct F {
  float v[L];
};
struct U {
  uint32_t v[L];
};

template <class V, class Op>
inline V lanes(Op op) {
  V r;
  for (int i = 0; i < L; ++i) r.v[i] = op(i);
  return r;
}

inline F f_load(const float* p) { return lanes<F>([&](int i) { return p[i]; }); }
inline void f_store(float* p, F a) { __builtin_memcpy(p, a.v, sizeof a.v); }
inline F f_gather(const float* p, const uint16_t* index) { return lanes<F>([&](int i) { return p[index[i]]; }); }
inline F f_set1(float x) { return lanes<F>([&](int) { return x; }); }
inline F f_add(F a, F b) { return lanes<F>([&](int i) { return a.v[i] + b.v[i]; }); }
inline F f_mul(F a, F b) { return lanes<F>([&](int i) { return a.v[i] * b.v[i]; }); }
inline F f_div(F a, F b) { return lanes<F>([&](int i) { return a.v[i] / b.v[i]; }); }
inline F f_fma(F a, F b, F c) { return lanes<F>([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); }); }
inline F f_max(F a, F b) { return lanes<F>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
inline F f_min(F a, F b) { return lanes<F>([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
inline F f_two_slope(F y, F p, F n) {
  return lanes<F>([&](int i) { return y.v[i] * (y.v[i] >= 0 ? p.v[i] : n.v[i]); });
}
inline uint32_t f_ge(F a, F b) {
  uint32_t mask = 0;
  for (int i = 0; i < L; ++i) mask |= static_cast<uint32_t>(a.v[i] >= b.v[i]) << i;
  return mask;
}
inline uint32_t f_le(F a, F b) { return f_ge(b, a); }

inline U u_load(const uint32_t* p) {
  U r;
  __builtin_memcpy(r.v, p, sizeof r.v);
  return r;
}
inline void u_store(void* p, U a) { __builtin_memcpy(p, a.v, sizeof a.v); }
inline F f_pick(F table, U u) { return lanes<F>([&](int i) { return table.v[u.v[i] & 3]; }); }
inline F f_choose(const uint8_t* p, F one, F zero) {  // without branches, which no processor would guess
  const F* const of[2] = {&zero, &one};
  return lanes<F>([&](int i) { return of[*p >> i & 1]->v[i]; });
}
inline U u_set1(uint32_t x) { return lanes<U>([&](int) { return x; }); }
inline U u_broadcast(const uint8_t* p) {
  uint32_t x;
  __builtin_memcpy(&x, p, 4);
  return u_set1(x);
}
inline U u_zero() { return u_set1(0); }
inline U u_add(U a, U b) { return lanes<U>([&](int i) { return a.v[i] + b.v[i]; }); }
inline U u_and(U a, U b) { return lanes<U>([&](int i) { return a.v[i] & b.v[i]; }); }
inline U u_mul(U a, U b) { return lanes<U>([&](int i) { return a.v[i] * b.v[i]; }); }
inline U u_shl(U a, U n) { return lanes<U>([&](int i) { return a.v[i] << n.v[i]; }); }
inline U u_sra(U a, U n) {
  return lanes<U>([&](int i) { return static_cast<uint32_t>(static_cast<int32_t>(a.v[i]) >> n.v[i]); });
}
inline U i_max(U a, U b) {
  return lanes<U>([&](int i) { return static_cast<int32_t>(a.v[i]) > static_cast<int32_t>(b.v[i]) ? a.v[i] : b.v[i]; });
}
inline U i_min(U a, U b) {
  return lanes<U>([&](int i) { return static_cast<int32_t>(a.v[i]) < static_cast<int32_t>(b.v[i]) ? a.v[i] : b.v[i]; });
}
inline U u_load_codes(const uint8_t* p) { return lanes<U>([&](int i) { return uint32_t{p[i]}; }); }
inline void u_store_codes(uint8_t* p, U a, int count) {
  for (int i = 0; i < count; ++i) p[i] = static_cast<uint8_t>(a.v[i]);
}
inline F f_from_i32(U a) { return lanes<F>([&](int i) { return static_cast<float>(static_cast<int32_t>(a.v[i])); }); }
inline F f_pow2(F k) {
  U bits;
  __builtin_memcpy(bits.v, k.v, sizeof bits.v);
  bits = lanes<U>([&](int i) { return (bits.v[i] << 23) + 0x3f800000u; });
  __builtin_memcpy(k.v, bits.v, sizeof bits.v);
  return k;
}

constexpr int kCountSteps = netsuke::kNoLimit;
inline uint32_t popcount(uint32_t x) {
  x = x - (x >> 1 & 0x55555555u);
  x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0fu;
  return x * 0x01010101u >> 24;
}
using B = U;
inline B b_of(U x) { return x; }
inline U count_add(U acc, B w, B a) { return lanes<U>([&](int i) { return acc.v[i] + popcount(w.v[i] ^ a.v[i]); }); }
inline U count_add_masked(U acc, B w, B a, B m) {
  return lanes<U>([&](int i) { return acc.v[i] + popcount((w.v[i] ^ a.v[i]) & m.v[i]); });
}
inline U count_total(U acc) { return acc; }

constexpr int kCodeOffset = 0;
constexpr netsuke::TileRows kInt8Tile = {2, 1, 0};
using D = U;
using C = U;
using Q = U;
inline D d_zero() { return u_zero(); }
inline C c_load(const uint32_t* p) { return u_load(p); }
inline Q q_broadcast(const uint8_t* p) { return u_broadcast(p); }
inline D d_dot(D acc, C w, Q q) {
  return lanes<U>([&](int i) {
    int32_t sum = static_cast<int32_t>(acc.v[i]);
    for (int b = 0; b < 32; b += 8) sum += static_cast<int8_t>(w.v[i] >> b) * static_cast<uint8_t>(q.v[i] >> b);
    return static_cast<uint32_t>(sum);
  });
}
inline U d_total(D acc) { return acc; }

// y is 0 to 255: adding 2^23 leaves no bits behind the point, rounded to nearest even.
inline void f_store_codes(uint8_t* p, F y, int count) {
  for (int i = 0; i < count; ++i) p[i] = static_cast<uint8_t>(y.v[i] + 8388608.0f - 8388608.0f);
}

}  // namespace

#include "kernels/all.inl"

const netsuke::Kernels& netsuke::scalar_kernels() { return kKernels; }
