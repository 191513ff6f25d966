// Lanes are channels.

namespace {

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

template <class Of>
inline Set binary_set(const Unit& u, const Of& maps, int64_t c) {
  if (u.rsign) return {-maps.row(u.rsign, c), set1(1), set1(1), set1(1), set1(-1)};
  const float alpha = *u.alpha, beta = *u.beta, gamma = u.published ? alpha * beta : beta;
  return {set1(beta), set1(1 / alpha), set1(alpha > 0 ? 1.f : alpha < 0 ? -1.f : 0.f), set1(gamma + alpha),
          set1(gamma - alpha)};
}

template <class T, bool add, bool binary>
void forward_of(const Unit& u, const Affine& affine, const Forward& f, int64_t begin, int64_t end) {
  each_block<T>(u.channels, begin, end, [&](auto maps, int64_t c, int64_t from, int64_t to) {
    Set set{};
    if (binary) set = binary_set(u, maps, c);
    const F scale = maps.row(affine.scale, c), shift = maps.row(affine.shift, c);
    const F positive = u.positive ? maps.row(u.positive, c) : set1(1), negative = u.negative ? maps.row(u.negative, c) : set1(1);
    F sum{};
    for (int64_t x = from; x < to; ++x) {
      const int64_t i = x * u.channels + c;
      F v = maps.get(u.z, i) * scale + shift;
      if (add) v += maps.get(u.r, i);
      const F y = v * select(v >= 0, positive, negative);
      sum += y;
      if (f.y) maps.put(f.y, i, y);
      if (binary) {
        const I positive_sign = (y - set.beta) * set.sign >= 0;
        if (f.a) maps.put(f.a, i, select(positive_sign, set.high, set.low));
        if (f.bits) f.bits[i / L] = bits_of(positive_sign);
      }
    }
    if (f.means) maps.add(f.means, c, sum);
  });
}

template <class T, bool add, bool binary>
void backward_of(const Unit& u, const Affine& affine, const Backward& b, int64_t begin, int64_t end, float* sums) {
  const bool clipped = u.rsign;
  const F bound = set1(static_cast<float>(u.bound));
  each_block<T>(u.channels, begin, end, [&](auto maps, int64_t c, int64_t from, int64_t to) {
    Set set{};
    F alpha_part{}, beta_part{};
    if (binary) set = binary_set(u, maps, c);
    if (binary && !clipped) {
      alpha_part = u.published ? set.beta : F{};
      beta_part = u.published ? set1(*u.alpha) : set1(1);
    }
    const F scale = maps.row(affine.scale, c), shift = maps.row(affine.shift, c), mean = maps.row(u.mean, c);
    const F positive = u.positive ? maps.row(u.positive, c) : set1(1), negative = u.negative ? maps.row(u.negative, c) : set1(1);
    const F of_mean = b.grad_means ? maps.row(b.grad_means, c) * (1.f / static_cast<float>(u.image)) : F{};
    F sum_v{}, sum_vz{}, sum_positive{}, sum_negative{}, sum_alpha{}, sum_beta{};
    for (int64_t x = from; x < to; ++x) {
      const int64_t i = x * u.channels + c;
      const F z = maps.get(u.z, i);
      F v = z * scale + shift;
      if (add) v += maps.get(u.r, i);
      // At exactly 0 both rectifiers of the two slopes have slope 0; PReLU has the negative one.
      const F slope = u.positive ? select(v > 0, positive, select(v < 0, negative, F{})) : select(v > 0, positive, negative);
      F g = b.grad_y ? maps.get(b.grad_y, i) + of_mean : of_mean;
      if (binary) {
        const F ga = maps.get(b.grad_a, i);
        const F d = v * slope - set.beta, s = d * set.inverse;
        const F estimate = clipped ? select(magnitude(s) <= bound, set1(1), F{}) : max0(2 - 2 * magnitude(s));
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
    (u.binary() ? forward_of<T, true, true> : forward_of<T, true, false>)(u, affine, f, begin, end);
  else
    (u.binary() ? forward_of<T, false, true> : forward_of<T, false, false>)(u, affine, f, begin, end);
}

template <class T>
void backward_as(const Unit& u, const Affine& affine, const Backward& b, int64_t begin, int64_t end, float* sums) {
  const bool binary = u.binary() && b.grad_a;
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

}  // namespace
