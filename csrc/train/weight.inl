namespace {

// Filters' rows need not be a whole number of vectors: body(maps, first element).
template <class T, class Body>
inline void along(int64_t size, Body body) {
  int64_t i = 0;
  for (; i + L <= size; i += L) body(Maps<T, true>{L}, i);
  if (i < size) body(Maps<T, false>{static_cast<int>(size - i)}, i);
}

inline float total(F x) {
  float sum = 0;
  for (int i = 0; i < L; ++i) sum += x[i];
  return sum;
}

// e^x for x <= 0 as 2^n * 2^f with |f| <= 1/2, and a Taylor series for the latter.
inline F exp_negative(F x) {
  const F y = select(x > -87, x, set1(-87)) * 1.44269504f;
  const I n = __builtin_convertvector(y - 0.5f, I);
  const F f = (y - __builtin_convertvector(n, F)) * 0.693147181f;
  F p = set1(1.f / 5040);
  p = p * f + 1.f / 720, p = p * f + 1.f / 120, p = p * f + 1.f / 24, p = p * f + 1.f / 6, p = p * f + 0.5f;
  p = p * f + 1, p = p * f + 1;
  return p * reinterpret_cast<F>((n + 127) << 23);
}

// 1 - tanh(x)^2
inline F tanh_slope(F x) {
  const F q = exp_negative(-2 * magnitude(x));
  return 4 * q / ((1 + q) * (1 + q));
}

template <class T>
void weight_forward_of(const Weight& w, void* out) {
  for (int64_t o = 0; o < w.filters; ++o) {
    const float* row = w.weight + o * w.size;
    F sum{};
    along<float>(w.size, [&](auto maps, int64_t i) { sum += maps.get(row, i); });
    const float beta = total(sum) / static_cast<float>(w.size);
    F square{};
    along<float>(w.size, [&](auto maps, int64_t i) {
      const F d = maps.get(row, i) - beta;
      square += maps.only(d * d);
    });
    const float alpha = __builtin_sqrtf(total(square) / static_cast<float>(w.size));
    w.beta[o] = beta, w.alpha[o] = alpha;
    if (!out) continue;
    T* made = static_cast<T*>(out) + o * w.size;
    along<float>(w.size, [&](auto maps, int64_t i) {
      const F b = select(maps.get(row, i) - beta >= 0, set1(beta + alpha), set1(beta - alpha));
      maps.template as<T>().put(made, i, b);
    });
  }
}

void weight_backward(const Weight& w, float k, float t, const float* grad_out, float* grad) {
  for (int64_t o = 0; o < w.filters; ++o) {
    const float *row = w.weight + o * w.size, alpha = w.alpha[o], beta = w.beta[o];
    const float inverse = alpha > 0 ? 1 / alpha : 0, n = static_cast<float>(w.size);
    const float* g = grad_out + o * w.size;
    float* made = grad + o * w.size;
    // With x = (w - beta) / alpha and h = dL/dx: dL/dw = h / alpha + x * dL/dalpha / n + mean(g) - mean of the first two.
    F sum_g{}, sum_alpha{}, sum_h{};
    along<float>(w.size, [&](auto maps, int64_t i) {
      const F x = (maps.get(row, i) - beta) * inverse, gi = maps.get(g, i);
      const F h = gi * tanh_slope(x * t) * (k * t);  // dL/dx / alpha
      sum_g += gi, sum_h += h;
      sum_alpha += select(x >= 0, gi, -gi) - h * x;
      maps.put(made, i, h);
    });
    const float by_x = total(sum_alpha) / n * (alpha > 0 ? 1.f : 0.f);
    const float mean_g = total(sum_g) / n, mean_h = alpha > 0 ? total(sum_h) / n : 0.f;
    along<float>(w.size, [&](auto maps, int64_t i) {
      const F x = (maps.get(row, i) - beta) * inverse;
      const F own = alpha > 0 ? maps.get(made, i) : F{};
      maps.put(made, i, own - mean_h + x * by_x + mean_g);  // the mean of x is 0
    });
  }
}

void weight_forward(const Weight& w, bool half, void* out) {
  (half ? weight_forward_of<uint16_t> : weight_forward_of<float>)(w, out);
}

}  // namespace
