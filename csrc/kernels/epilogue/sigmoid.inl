// exp and sigmoid (docs/format.md, section 4).

namespace {

// e^x, x brought to -87 to 87: x = k ln 2 + r with |r| <= 0.35, e^x = 2^k e^r, and e^r by its series up to r^7. Every
// comparison passes a NaN on.
inline F f_exp(F x) {
  const F one = f_set1(1), round = f_set1(12582912);  // 1.5 * 2^23: adding it leaves no bits behind the point
  x = f_min(f_set1(87), f_max(f_set1(-87), x));
  const F rounded = f_fma(x, f_set1(0x1.715476p+0f), round);
  const F k = f_add(rounded, f_set1(-12582912));
  F r = f_fma(k, f_set1(-0x1.62e43p-1f), x);
  r = f_fma(k, f_set1(0x1.05c61p-29f), r);
  F p = f_set1(1.0f / 5040);
  p = f_fma(p, r, f_set1(1.0f / 720));
  p = f_fma(p, r, f_set1(1.0f / 120));
  p = f_fma(p, r, f_set1(1.0f / 24));
  p = f_fma(p, r, f_set1(1.0f / 6));
  p = f_fma(p, r, f_set1(0.5f));
  p = f_fma(p, r, one);
  p = f_fma(p, r, one);
  return f_mul(p, f_pow2(rounded));
}

inline F f_sigmoid(F y) {
  const F one = f_set1(1);
  return f_div(one, f_add(one, f_exp(f_fma(y, f_set1(-1), f_set1(0)))));
}

}  // namespace
