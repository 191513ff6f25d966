// NEON on 64-bit ARM. A vector is two registers, so that its bits fill whole bytes; bytes are counted with the byte
// popcount and stay bytes for as many steps as a byte can hold.
#include <arm_neon.h>

#include "kernels/kernels.h"

namespace {

constexpr const char* kIsa = "neon";
constexpr int L = 8, kWidest = 4;
constexpr netsuke::TileRows kBinaryTile = {8, 5, 2};
constexpr netsuke::TileRows kFloatTile = {8, 5, 2};

struct F {
  float32x4_t a, b;
};
struct U {
  uint32x4_t a, b;
};

inline F f_load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
inline void f_store(float* p, F x) { vst1q_f32(p, x.a), vst1q_f32(p + 4, x.b); }
inline float32x4_t gather(const float* p, const uint16_t* index) {
  float32x4_t x = vld1q_dup_f32(p + index[0]);
  x = vld1q_lane_f32(p + index[1], x, 1);
  x = vld1q_lane_f32(p + index[2], x, 2);
  return vld1q_lane_f32(p + index[3], x, 3);
}
inline F f_gather(const float* p, const uint16_t* index) { return {gather(p, index), gather(p, index + 4)}; }
inline float32x4_t pick(float32x4_t table, uint32x4_t u) {  // code 2 is bytes 8, 9, 10, 11
  const uint32x4_t bytes = vmlaq_u32(vdupq_n_u32(0x03020100u), vandq_u32(u, vdupq_n_u32(3)), vdupq_n_u32(0x04040404u));
  return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(table), vreinterpretq_u8_u32(bytes)));
}
inline F f_pick(F table, U u) { return {pick(table.a, u.a), pick(table.b, u.b)}; }
inline F f_set1(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
inline F f_add(F x, F y) { return {vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b)}; }
inline F f_mul(F x, F y) { return {vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b)}; }
inline F f_div(F x, F y) { return {vdivq_f32(x.a, y.a), vdivq_f32(x.b, y.b)}; }
inline F f_fma(F x, F y, F z) { return {vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b)}; }
// Not vmaxq and vminq: they answer otherwise where an operand is NaN.
inline F f_max(F x, F y) {
  return {vbslq_f32(vcgtq_f32(x.a, y.a), x.a, y.a), vbslq_f32(vcgtq_f32(x.b, y.b), x.b, y.b)};
}
inline F f_min(F x, F y) {
  return {vbslq_f32(vcltq_f32(x.a, y.a), x.a, y.a), vbslq_f32(vcltq_f32(x.b, y.b), x.b, y.b)};
}
inline F f_two_slope(F y, F p, F n) {
  return {vmulq_f32(y.a, vbslq_f32(vcgezq_f32(y.a), p.a, n.a)), vmulq_f32(y.b, vbslq_f32(vcgezq_f32(y.b), p.b, n.b))};
}
inline uint32_t mask_of(uint32x4_t a, uint32x4_t b) {
  static const uint32_t kBits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
  return vaddvq_u32(vandq_u32(a, vld1q_u32(kBits))) + vaddvq_u32(vandq_u32(b, vld1q_u32(kBits + 4)));
}
inline uint32_t f_ge(F x, F y) { return mask_of(vcgeq_f32(x.a, y.a), vcgeq_f32(x.b, y.b)); }
inline uint32_t f_le(F x, F y) { return mask_of(vcleq_f32(x.a, y.a), vcleq_f32(x.b, y.b)); }

inline F f_choose(const uint8_t* p, F one, F zero) {
  static const uint32_t kBits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
  const uint32x4_t byte = vdupq_n_u32(*p);
  return {vbslq_f32(vtstq_u32(byte, vld1q_u32(kBits)), one.a, zero.a),
          vbslq_f32(vtstq_u32(byte, vld1q_u32(kBits + 4)), one.b, zero.b)};
}

inline U u_load(const uint32_t* p) { return {vld1q_u32(p), vld1q_u32(p + 4)}; }
inline void u_store(void* p, U x) {
  uint8_t* to = static_cast<uint8_t*>(p);
  vst1q_u8(to, vreinterpretq_u8_u32(x.a)), vst1q_u8(to + 16, vreinterpretq_u8_u32(x.b));
}
inline U u_set1(uint32_t x) { return {vdupq_n_u32(x), vdupq_n_u32(x)}; }
inline U u_broadcast(const uint8_t* p) {
  uint32_t x;
  __builtin_memcpy(&x, p, 4);
  return u_set1(x);
}
inline U u_zero() { return u_set1(0); }
inline U u_add(U x, U y) { return {vaddq_u32(x.a, y.a), vaddq_u32(x.b, y.b)}; }
inline U u_and(U x, U y) { return {vandq_u32(x.a, y.a), vandq_u32(x.b, y.b)}; }
inline U u_mul(U x, U y) { return {vmulq_u32(x.a, y.a), vmulq_u32(x.b, y.b)}; }
inline int32x4_t as_i32(uint32x4_t x) { return vreinterpretq_s32_u32(x); }
inline uint32x4_t as_u32(int32x4_t x) { return vreinterpretq_u32_s32(x); }
inline U u_shl(U x, U n) { return {vshlq_u32(x.a, as_i32(n.a)), vshlq_u32(x.b, as_i32(n.b))}; }
inline U u_sra(U x, U n) {
  return {as_u32(vshlq_s32(as_i32(x.a), vnegq_s32(as_i32(n.a)))), as_u32(vshlq_s32(as_i32(x.b), vnegq_s32(as_i32(n.b))))};
}
inline U i_max(U x, U y) {
  return {as_u32(vmaxq_s32(as_i32(x.a), as_i32(y.a))), as_u32(vmaxq_s32(as_i32(x.b), as_i32(y.b)))};
}
inline U i_min(U x, U y) {
  return {as_u32(vminq_s32(as_i32(x.a), as_i32(y.a))), as_u32(vminq_s32(as_i32(x.b), as_i32(y.b)))};
}
inline U u_load_codes(const uint8_t* p) {
  const uint16x8_t shorts = vmovl_u8(vld1_u8(p));
  return {vmovl_u16(vget_low_u16(shorts)), vmovl_high_u16(shorts)};
}
inline void u_store_codes(uint8_t* p, U x, int count) {
  uint8_t bytes[8];
  vst1_u8(bytes, vmovn_u16(vcombine_u16(vmovn_u32(x.a), vmovn_u32(x.b))));
  __builtin_memcpy(p, bytes, static_cast<size_t>(count));
}
inline F f_from_i32(U x) { return {vcvtq_f32_s32(vreinterpretq_s32_u32(x.a)), vcvtq_f32_s32(vreinterpretq_s32_u32(x.b))}; }
inline float32x4_t pow2(float32x4_t k) {
  return vreinterpretq_f32_u32(vaddq_u32(vshlq_n_u32(vreinterpretq_u32_f32(k), 23), vdupq_n_u32(0x3f800000u)));
}
inline F f_pow2(F k) { return {pow2(k.a), pow2(k.b)}; }

constexpr int kCountSteps = 31;  // 31 * 8 bits <= 255
inline uint32x4_t bytes_add(uint32x4_t acc, uint32x4_t x) {
  return vreinterpretq_u32_u8(vaddq_u8(vreinterpretq_u8_u32(acc), vcntq_u8(vreinterpretq_u8_u32(x))));
}
inline uint32x4_t bytes_total(uint32x4_t acc) { return vpaddlq_u16(vpaddlq_u8(vreinterpretq_u8_u32(acc))); }
using B = U;
inline B b_of(U x) { return x; }
inline U count_add(U acc, B w, B x) { return {bytes_add(acc.a, veorq_u32(w.a, x.a)), bytes_add(acc.b, veorq_u32(w.b, x.b))}; }
inline U count_add_masked(U acc, B w, B x, B m) {
  return {bytes_add(acc.a, vandq_u32(veorq_u32(w.a, x.a), m.a)), bytes_add(acc.b, vandq_u32(veorq_u32(w.b, x.b), m.b))};
}
inline U count_total(U acc) { return {bytes_total(acc.a), bytes_total(acc.b)}; }

// Codes as signed numbers, q - 128: the product of two signed bytes fits 16 bits, pairs are added up in 32.
constexpr int kCodeOffset = 128;
constexpr netsuke::TileRows kInt8Tile = {4, 2, 1};
struct D {
  int32x4_t a, b, c, d;  // two partial sums a lane
};
struct C {
  int8x16_t a, b;
};
using Q = int8x16_t;
inline D d_zero() { return {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)}; }
inline C c_load(const uint32_t* p) {
  return {vreinterpretq_s8_u32(vld1q_u32(p)), vreinterpretq_s8_u32(vld1q_u32(p + 4))};
}
inline Q q_broadcast(const uint8_t* p) {
  return vreinterpretq_s8_u32(veorq_u32(u_broadcast(p).a, vdupq_n_u32(0x80808080u)));
}
inline D d_dot(D acc, C w, Q q) {
  return {vpadalq_s16(acc.a, vmull_s8(vget_low_s8(w.a), vget_low_s8(q))), vpadalq_s16(acc.b, vmull_high_s8(w.a, q)),
          vpadalq_s16(acc.c, vmull_s8(vget_low_s8(w.b), vget_low_s8(q))), vpadalq_s16(acc.d, vmull_high_s8(w.b, q))};
}
inline U d_total(D acc) {
  return {vreinterpretq_u32_s32(vpaddq_s32(acc.a, acc.b)), vreinterpretq_u32_s32(vpaddq_s32(acc.c, acc.d))};
}

inline void f_store_codes(uint8_t* p, F y, int count) {
  u_store_codes(p, {vcvtnq_u32_f32(y.a), vcvtnq_u32_f32(y.b)}, count);
}

}  // namespace

#include "kernels/all.inl"

const netsuke::Kernels& netsuke::neon_kernels() { return kKernels; }
