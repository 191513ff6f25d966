#include "train/conv.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "train/kernels.h"
#include "train/parallel.h"

namespace netsuke::train {
namespace {

// Which taps of the kernel lie inside the image, for one row or column of the result.
struct Taps {
  int64_t begin, end;
  bool operator==(const Taps& other) const { return begin == other.begin && end == other.end; }
};

// The distinct ones, and which of them each of `count` rows or columns has.
std::vector<Taps> classes(int64_t count, int64_t extent, int64_t kernel, int64_t stride, int64_t pad, std::vector<int32_t>& of) {
  std::vector<Taps> distinct;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t first = i * stride - pad;
    const int64_t begin = std::clamp<int64_t>(-first, 0, kernel);  // padding may be wider than the kernel
    const Taps taps{begin, std::clamp<int64_t>(extent - first, begin, kernel)};
    size_t k = 0;
    while (k < distinct.size() && !(distinct[k] == taps)) ++k;
    if (k == distinct.size()) distinct.push_back(taps);
    of.push_back(static_cast<int32_t>(k));
  }
  return distinct;
}

}  // namespace

void binary_conv(BinaryConv b, const Latent& latent, int threads) {
  const auto outputs = static_cast<size_t>(b.outputs);
  const int64_t taps = b.kernel_h * b.kernel_w, bits = b.kernel_w * b.channels;
  b.words = (bits + 31) / 32;
  b.last_mask = bits % 32 ? (1u << bits % 32) - 1 : 0xffffffffu;
  std::vector<uint32_t> weight(static_cast<size_t>(b.kernel_h * b.words) * outputs);
  std::vector<int32_t> signs(static_cast<size_t>(taps) * outputs);  // sum of s_w over the channels of a tap
  parallel(b.outputs, threads, [&](int64_t o) {
    const float beta = latent.beta_w[o];
    for (int64_t ky = 0; ky < b.kernel_h; ++ky)
      for (int64_t kx = 0; kx < b.kernel_w; ++kx) {
        const float* w = latent.weight + o * latent.stride_o + ky * latent.stride_h + kx * latent.stride_w;
        int32_t positive = 0;
        for (int64_t c = 0; c < b.channels; ++c) {
          const uint32_t bit = w[c * latent.stride_c] - beta >= 0;
          const int64_t at = kx * b.channels + c;
          weight[static_cast<size_t>(((ky * b.words + at / 32) * b.outputs) + o)] |= bit << at % 32;
          positive += static_cast<int32_t>(bit);
        }
        signs[static_cast<size_t>((ky * b.kernel_w + kx) * b.outputs + o)] = 2 * positive - static_cast<int32_t>(b.channels);
      }
  });
  std::vector<int32_t> rows, columns;
  const auto row_taps = classes(b.out_h, b.in_h, b.kernel_h, b.stride_h, b.pad_h, rows);
  const auto column_taps = classes(b.out_w, b.in_w, b.kernel_w, b.stride_w, b.pad_w, columns);
  for (int32_t& row : rows) row *= static_cast<int32_t>(column_taps.size());
  std::vector<float> table, count(outputs), ones(outputs);
  for (const Taps& r : row_taps)
    for (const Taps& c : column_taps)
      for (size_t o = 0; o < outputs; ++o) {
        int64_t all = 0, inside = 0;
        for (int64_t ky = 0; ky < b.kernel_h; ++ky)
          for (int64_t kx = 0; kx < b.kernel_w; ++kx) {
            const int32_t sum = signs[static_cast<size_t>(ky * b.kernel_w + kx) * outputs + o];
            all += sum;
            if (ky >= r.begin && ky < r.end && kx >= c.begin && kx < c.end) inside += sum;
          }
        const double a = double{latent.alpha_w[o]} * latent.alpha_a, n = static_cast<double>((r.end - r.begin) * (c.end - c.begin) * b.channels);
        table.push_back(static_cast<float>(a * static_cast<double>(taps * b.channels + all - inside) +
                                           double{latent.alpha_w[o]} * latent.gamma * static_cast<double>(inside) +
                                           double{latent.beta_w[o]} * (double{latent.gamma} - latent.alpha_a) * n));
        count[o] = static_cast<float>(2 * a);
        ones[o] = static_cast<float>(2.0 * latent.beta_w[o] * latent.alpha_a);
      }
  b.weight = weight.data(), b.row_class = rows.data(), b.column_class = columns.data();
  b.table = table.data(), b.count = count.data(), b.ones = ones.data();
  const Kernels& kernels = select_kernels();
  parallel(b.images, threads, [&](int64_t image) { kernels.binary_conv(b, image); });
}

bool has_input_gradient() { return select_kernels().input_gradient; }

void input_gradient(InputGradient g, const Latent& latent, int threads) {
  const int64_t groups = g.outputs / 4, taps = g.kernel_h * g.kernel_w;
  std::vector<uint32_t> index(static_cast<size_t>(taps * groups * g.channels));
  std::vector<float> choice(static_cast<size_t>(g.outputs * 16));
  for (int64_t o = 0; o < g.outputs; ++o)
    for (int64_t k = 0; k < 16; ++k)
      choice[static_cast<size_t>(o * 16 + k)] = k >> o % 4 & 1 ? latent.beta_w[o] + latent.alpha_w[o] : latent.beta_w[o] - latent.alpha_w[o];
  parallel(groups, threads, [&](int64_t group) {
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t i = 0; i < 4; ++i) {
        const int64_t o = group * 4 + i;
        const float beta = latent.beta_w[o];
        const float* row = latent.weight + o * latent.stride_o + tap / g.kernel_w * latent.stride_h + tap % g.kernel_w * latent.stride_w;
        for (int64_t c = 0; c < g.channels; ++c) {
          const int64_t first = c / 32 * 32, lanes = std::min<int64_t>(g.channels - first, 32);
          uint32_t& to = index[static_cast<size_t>((first * taps + tap * lanes) * groups + group * lanes + c - first)];
          to |= static_cast<uint32_t>(row[c * latent.stride_c] - beta >= 0) << i;
        }
      }
  });
  g.index = index.data(), g.choice = choice.data();
  const Kernels& kernels = select_kernels();
  parallel(g.images, threads, [&](int64_t image) { kernels.input_gradient(g, image); });
}

void weight_gradient(const WeightGradient& g, const Strided& out, int threads) {
  constexpr int64_t kTasks = 8, kLanes = 16;
  const int64_t blocks = g.outputs / kLanes, size = g.kernel_h * g.kernel_w * g.channels * kLanes, fours = (g.images + 3) / 4;
  // Of the images, where the outputs alone make too few tasks; added up in one order, so the threads do not matter.
  const int64_t wanted = std::max<int64_t>(kTasks / blocks, 1), own = (fours + wanted - 1) / wanted, shares = (fours + own - 1) / own;
  const Kernels& kernels = select_kernels();
  const std::unique_ptr<uint16_t[]> offsets(new uint16_t[static_cast<size_t>(fours * g.offsets())]);
  parallel(fours, threads, [&](int64_t four) { kernels.interleave(g, four * 4, offsets.get() + four * g.offsets()); });
  std::vector<float> sums(static_cast<size_t>(shares * blocks * size));
  parallel(shares * blocks, threads, [&](int64_t i) {
    const int64_t begin = i % shares * own * 4, end = std::min(begin + own * 4, g.images);
    kernels.weight_gradient(g, offsets.get(), begin, end, i / shares * kLanes, sums.data() + i * size);
  });
  parallel(blocks, threads, [&](int64_t block) {
    float* first = sums.data() + block * shares * size;
    for (int64_t i = 1; i < shares; ++i)
      for (int64_t k = 0; k < size; ++k) first[k] += first[i * size + k];
    for (int64_t o = 0; o < kLanes; ++o)
      for (int64_t tap = 0; tap < g.kernel_h * g.kernel_w; ++tap) {
        float* to = out.data + (block * kLanes + o) * out.stride_o + tap / g.kernel_w * out.stride_h + tap % g.kernel_w * out.stride_w;
        for (int64_t c = 0; c < g.channels; ++c) to[c * out.stride_c] = first[(tap * g.channels + c) * kLanes + o];
      }
  });
}

void expand(const uint16_t* bits, int64_t words, bool half, float high, float low, void* out, int threads) {
  constexpr int64_t kWords = 4096;
  const Kernels& kernels = select_kernels();
  parallel((words + kWords - 1) / kWords, threads, [&](int64_t i) {
    kernels.expand(bits, i * kWords, std::min((i + 1) * kWords, words), half, high, low, out);
  });
}

}  // namespace netsuke::train
