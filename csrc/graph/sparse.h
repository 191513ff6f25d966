// The sparse form of a float layer's weights (SparseLinearArgs, kernels.h): which rows share a slice, and the packing.
#pragma once

#include <cstdint>
#include <vector>

#include "base/memory.h"

namespace netsuke {

// What the sparse form of a layer would hold.
struct SparsePlan {
  int terms, lanes;
  std::vector<int32_t> channel;  // [slices][lanes], those past the last output too
  std::vector<int64_t> begin;    // [slices + 1]: the first step of each slice
  bool pays;                     // whether it runs faster than the other forms
};

struct SparseWeights {
  Buffer<int64_t> begin;
  Buffer<int32_t> channel;
  Buffer<uint16_t> index;
  Buffer<float> value, bias;
};

// `weight` is (outputs, terms), terms <= kMostSparseTerms; `bias` is (outputs). few: weights of few values, which else run from a
// codebook (codebook.h).
constexpr int64_t kMostSparseTerms = 1 << 16;
SparsePlan plan_sparse(const float* weight, int outputs, int terms, int lanes, bool few);
SparseWeights pack_sparse(const SparsePlan& plan, const float* weight, const float* bias, int outputs);

}  // namespace netsuke
