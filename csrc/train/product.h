// A map times a factor for each channel of each image, and times another map: what squeeze and excitation does, and
// BNext's attention behind it.
//
//   y = x * gate * r        x, r, y (N, H, W, C), gate (N, C)
#pragma once

#include <cstdint>

namespace netsuke::train {

struct Product {
  int64_t images, pixels, channels;  // pixels of one image
  bool half;                         // bfloat16 maps
  const void *x, *r;                 // r may be null: 1
  const float* gate;
};

struct ProductGradients {
  const void* grad;                  // of y
  void *x, *r;                       // r may be null
  float* gate;                       // zeros, to which it is added
};

void product(const Product&, void* y, int threads);
void product_backward(const Product&, const ProductGradients&, int threads);

}  // namespace netsuke::train
