// NEON on 64-bit ARM. A vector is two registers, so that its bits fill whole bytes; bytes are counted with the byte
// popcount and stay bytes for as many steps as a byte can hold.
#include <arm_neon.h>

#include "kernels/kernels.h"

namespace {

constexpr const char* kIsa = "neon";
constexpr int L = 8;
constexpr int kBinaryRows4 = 2, kBinaryRows2 = 5, kBinaryRows1 = 8;
constexpr int kFloatRows4 = 2, kFloatRows2 = 5, kFloatRows1 = 8;

struct F {
  float32x4_t a, b;
};
struct U {
  uint32x4_t a, b;
};

inline F f_load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
inline void f_store(float* p, F x) { vst1q_f32(p, x.a), vst1q_f32(p + 4, x.b); }
inline F f_set1(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
inline F f_add(F x, F y) { return {vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b)}; }
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

inline U u_load(const uint32_t* p) { return {vld1q_u32(p), vld1q_u32(p + 4)}; }
inline void u_store(int32_t* p, U x) { vst1q_s32(p, vreinterpretq_s32_u32(x.a)), vst1q_s32(p + 4, vreinterpretq_s32_u32(x.b)); }
inline U u_set1(uint32_t x) { return {vdupq_n_u32(x), vdupq_n_u32(x)}; }
inline U u_zero() { return u_set1(0); }
inline U u_xor(U x, U y) { return {veorq_u32(x.a, y.a), veorq_u32(x.b, y.b)}; }
inline U u_add(U x, U y) { return {vaddq_u32(x.a, y.a), vaddq_u32(x.b, y.b)}; }
inline U u_sub(U x, U y) { return {vsubq_u32(x.a, y.a), vsubq_u32(x.b, y.b)}; }
inline F f_from_i32(U x) { return {vcvtq_f32_s32(vreinterpretq_s32_u32(x.a)), vcvtq_f32_s32(vreinterpretq_s32_u32(x.b))}; }

constexpr int kCountSteps = 31;  // 31 * 8 bits <= 255
inline uint32x4_t bytes_add(uint32x4_t acc, uint32x4_t x) {
  return vreinterpretq_u32_u8(vaddq_u8(vreinterpretq_u8_u32(acc), vcntq_u8(vreinterpretq_u8_u32(x))));
}
inline uint32x4_t bytes_total(uint32x4_t acc) { return vpaddlq_u16(vpaddlq_u8(vreinterpretq_u8_u32(acc))); }
inline U count_add(U acc, U x) { return {bytes_add(acc.a, x.a), bytes_add(acc.b, x.b)}; }
inline U count_total(U acc) { return {bytes_total(acc.a), bytes_total(acc.b)}; }

}  // namespace

#include "kernels/all.inl"

const netsuke::Kernels& netsuke::neon_kernels() { return kKernels; }
