#include "graph/sparse.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "kernels/kernels.h"

namespace netsuke {
namespace {

// The share of the weights that the sparse form may hold, with the zeros that fill slices up: of a layer that stays in
// the caches from image to image, of one that memory must bring each time, and of one that would else run from a codebook
// (docs/engine.md has the figures).
constexpr double kMostHeld = 0.1, kMostHeldOfLarge = 0.3, kMostHeldOfFew = 0.07;
constexpr int64_t kLargeBytes = 8 << 20;

}  // namespace

SparsePlan plan_sparse(const float* weight, int outputs, int terms, int lanes, bool few) {
  const int slices = (outputs + lanes - 1) / lanes, channels = slices * lanes;
  std::vector<int> length(static_cast<size_t>(channels), 0);
  for (int o = 0; o < outputs; ++o) {
    const float* row = weight + int64_t{o} * terms;
    length[static_cast<size_t>(o)] = terms - static_cast<int>(std::count(row, row + terms, 0.0f));
  }
  SparsePlan p{terms, lanes, std::vector<int32_t>(length.size()), {0}, false};
  std::iota(p.channel.begin(), p.channel.end(), 0);
  for (int c = 0; c < channels; c += kPanel)
    std::stable_sort(p.channel.begin() + c, p.channel.begin() + std::min(channels, c + kPanel),
                     [&](int32_t a, int32_t b) { return length[static_cast<size_t>(a)] > length[static_cast<size_t>(b)]; });
  // The first row of a slice is its longest.
  for (int c = 0; c < channels; c += lanes) {
    const int32_t longest = p.channel[static_cast<size_t>(c)];
    p.begin.push_back(p.begin.back() + length[static_cast<size_t>(longest)]);
  }
  const int64_t dense = int64_t{outputs} * terms, held = p.begin.back() * lanes;
  const double most = few ? kMostHeldOfFew : 4 * dense > kLargeBytes ? kMostHeldOfLarge : kMostHeld;
  p.pays = static_cast<double>(held) <= most * static_cast<double>(dense);
  return p;
}

SparseWeights pack_sparse(const SparsePlan& p, const float* weight, const float* bias, int outputs) {
  const auto lanes = static_cast<size_t>(p.lanes), terms = static_cast<size_t>(p.terms);
  const auto held = static_cast<size_t>(p.begin.back()) * lanes;
  SparseWeights w{Buffer<int64_t>(p.begin.size()), Buffer<int32_t>(p.channel.size()), Buffer<uint16_t>(held),
                  Buffer<float>(held), Buffer<float>(p.channel.size())};
  std::copy(p.begin.begin(), p.begin.end(), w.begin.data());
  std::copy(p.channel.begin(), p.channel.end(), w.channel.data());
  const std::vector<float> nothing(terms);  // of the channels past the last
  for (size_t i = 0; i < p.channel.size(); ++i) {
    const bool inside = p.channel[i] < outputs;
    const auto o = static_cast<size_t>(p.channel[i]);
    const float* row = inside ? weight + o * terms : nothing.data();
    if (inside) w.bias[i] = bias[o];
    const auto first = static_cast<size_t>(p.begin[i / lanes]), end = static_cast<size_t>(p.begin[i / lanes + 1]);
    auto zeros = static_cast<ptrdiff_t>(end - first) - (p.terms - std::count(row, row + terms, 0.0f));
    size_t to = first * lanes + i % lanes;
    for (size_t k = 0; k < terms; ++k) {
      if (row[k] == 0 && zeros-- <= 0) continue;
      w.index[to] = static_cast<uint16_t>(k), w.value[to] = row[k] + 0.0f;  // -0 counts as 0
      to += lanes;
    }
  }
  return w;
}

}  // namespace netsuke
