// AdaBin's weight binarizer: `filters` rows of `size` float32 weights; what is swept stays in the first cache.
//
//   beta = mean(w)    alpha = sqrt(mean((w - beta)^2))    out = alpha * sign((w - beta) / alpha) + beta
//
// Backward of the sign: k * t * (1 - tanh(t * x)^2). A constant filter has alpha = 0 and passes on the mean's gradient alone.
#pragma once

#include <cstdint>

namespace netsuke::train {

struct Weight {
  int64_t filters, size;
  const float* weight;
  float *alpha, *beta;          // of each filter; made by forward, read by backward
};

}  // namespace netsuke::train
