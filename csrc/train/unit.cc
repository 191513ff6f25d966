#include "train/unit.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "train/parallel.h"
#include "train/kernels.h"

namespace netsuke::train {
namespace {

// body(run, image) for every image, the images of a run one after another.
template <class Body>
int64_t each_run(const Unit& u, int threads, const Body& body) {
  const int64_t of_run = std::max<int64_t>(1, kRun / u.image), runs = (u.images + of_run - 1) / of_run;
  parallel(runs, threads, [&](int64_t run) {
    for (int64_t image = run * of_run; image < std::min((run + 1) * of_run, u.images); ++image) body(run, image);
  });
  return runs;
}

// body(image, first pixel, last pixel, sums) for every image; the sums of all, rows x channels, in the order of the pixels.
template <class Body>
std::vector<double> add_up(const Unit& u, int64_t rows, int threads, const Body& body) {
  const int64_t size = rows * u.channels;
  std::vector<float> parts(static_cast<size_t>(u.images * size));  // as many as there can be runs
  const int64_t runs = each_run(u, threads, [&](int64_t run, int64_t image) {
    body(image, image * u.image, (image + 1) * u.image, parts.data() + run * size);
  });
  std::vector<double> sums(static_cast<size_t>(size));
  for (int64_t i = 0; i < runs; ++i)
    for (int64_t k = 0; k < size; ++k) sums[static_cast<size_t>(k)] += parts[static_cast<size_t>(i * size + k)];
  return sums;
}

float first_pixel(const Unit& u, int64_t channel) {
  if (!u.half) return static_cast<const float*>(u.z)[channel];
  const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(u.z)[channel]) << 16;
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

void measure(const Unit& u, const Kernels& kernels, int threads) {
  const size_t channels = static_cast<size_t>(u.channels);
  std::vector<float> pivot(channels);
  for (size_t c = 0; c < channels; ++c) pivot[c] = first_pixel(u, static_cast<int64_t>(c));
  const auto sums = add_up(u, 2, threads, [&](int64_t, int64_t begin, int64_t end, float* part) {
    kernels.moments(u, pivot.data(), begin, end, part);
  });
  const double n = static_cast<double>(u.pixels());
  for (size_t c = 0; c < channels; ++c) {
    const double offset = sums[c] / n, variance = std::max(sums[channels + c] / n - offset * offset, 0.0);
    const double mean = pivot[c] + offset;
    u.mean[c] = static_cast<float>(mean);
    u.rstd[c] = static_cast<float>(1 / std::sqrt(variance + u.epsilon));
    if (u.running_mean) {
      u.running_mean[c] = static_cast<float>((1 - u.momentum) * u.running_mean[c] + u.momentum * mean);
      u.running_var[c] = static_cast<float>((1 - u.momentum) * u.running_var[c] + u.momentum * variance * n / (n - 1));
    }
  }
}

struct Rows {
  std::vector<float> scale, shift;
  explicit Rows(const Unit& u) {
    for (int64_t c = 0; c < u.channels; ++c) {
      scale.push_back(u.rstd[c] * (u.weight ? u.weight[c] : 1.f));
      shift.push_back((u.bias ? u.bias[c] : 0.f) - u.mean[c] * scale.back());
    }
  }
  Affine affine() const { return {scale.data(), shift.data()}; }
};

}  // namespace

void forward(const Unit& u, const Forward& f, int threads) {
  const Kernels& kernels = select_kernels();
  if (u.batch) measure(u, kernels, threads);
  const Rows rows(u);
  each_run(u, threads, [&](int64_t, int64_t image) {
    Forward own = f;
    if (f.means) own.means = f.means + image * u.channels, std::fill_n(own.means, u.channels, 0.f);
    kernels.forward(u, rows.affine(), own, image * u.image, (image + 1) * u.image);
    if (f.means)
      for (int64_t c = 0; c < u.channels; ++c) own.means[c] /= static_cast<float>(u.image);
  });
}

void backward(const Unit& u, const Backward& b, int threads) {
  const Kernels& kernels = select_kernels();
  const Rows rows(u);
  const auto sums = add_up(u, kSums, threads, [&](int64_t image, int64_t begin, int64_t end, float* part) {
    Backward own = b;
    if (b.grad_means) own.grad_means = b.grad_means + image * u.channels;
    kernels.backward(u, rows.affine(), own, begin, end, part);
  });
  const size_t channels = static_cast<size_t>(u.channels);
  const auto of = [&](Sum k, size_t c) { return sums[static_cast<size_t>(k) * channels + c]; };
  std::vector<float> by_v(channels), by_z(channels), constant(channels);
  double alpha = 0, beta = 0;
  for (size_t c = 0; c < channels; ++c) {
    const double rstd = u.rstd[c];
    if (b.grad_weight) b.grad_weight[c] = static_cast<float>(of(kSumVZ, c) * rstd);
    if (b.grad_bias) b.grad_bias[c] = static_cast<float>(of(kSumV, c));
    if (b.grad_positive) b.grad_positive[c] = static_cast<float>(of(kSumPositive, c));
    if (b.grad_negative) b.grad_negative[c] = static_cast<float>(of(kSumNegative, c));
    alpha += of(kSumAlpha, c), beta += of(kSumBeta, c);
    if (b.grad_rsign) b.grad_rsign[c] = static_cast<float>(-of(kSumBeta, c));  // the sum runs over -estimate
    // grad_z = scale * (grad_v - mean(grad_v) - (z - mean) * rstd^2 * mean(grad_v * (z - mean)))
    const double scale = rows.scale[c], n = static_cast<double>(u.pixels());
    const double slope = u.batch ? -scale * rstd * rstd * of(kSumVZ, c) / n : 0;
    by_v[c] = rows.scale[c], by_z[c] = static_cast<float>(slope);
    constant[c] = u.batch ? static_cast<float>(-scale * of(kSumV, c) / n - slope * u.mean[c]) : 0.f;
  }
  if (b.grad_alpha) *b.grad_alpha = static_cast<float>(alpha), *b.grad_beta = static_cast<float>(beta);
  if (!b.grad_z) return;
  each_run(u, threads, [&](int64_t, int64_t image) {
    kernels.backward_norm(u, b, by_v.data(), by_z.data(), constant.data(), image * u.image, (image + 1) * u.image);
  });
}

}  // namespace netsuke::train
