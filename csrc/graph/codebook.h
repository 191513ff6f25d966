// Weights of few values as a table of them and codes (CodebookLinearArgs, kernels.h).
#pragma once

#include <cstdint>
#include <optional>

#include "base/memory.h"
#include "kernels/kernels.h"

namespace netsuke {

struct Codebook {
  int count = 0;
  float value[kCodebookValues] = {};

  // The place of a weight in the table, -0 being 0; `count` where it has none.
  int code_of(float weight) const {
    int code = 0;
    while (code < count && value[code] != weight) ++code;
    return code;
  }
};

// The values of (outputs, terms) weights, whose scale by output may be null. Nothing if there are too many, or if the kernel
// would give a weight another sign of zero than float_conv: a product that underflows.
std::optional<Codebook> codebook_of(const float* weight, const float* scale, int outputs, int64_t terms);

// The table as kernels load it: the values again and again.
Buffer<float> repeated(const Codebook& book);

}  // namespace netsuke
