// What an instruction set supplies: one table of functions, each for a share of the work.
#pragma once

#include "train/conv.h"
#include "train/product.h"
#include "train/unit.h"
#include "train/weight.h"

namespace netsuke::train {

struct Kernels {
  const char* isa;
  // Of z - pivot and of its square, two rows: a pivot within the data keeps the variance from cancelling.
  void (*moments)(const Unit&, const float* pivot, int64_t begin, int64_t end, float* sums);
  void (*forward)(const Unit&, const Affine&, const Forward&, int64_t begin, int64_t end);
  void (*backward)(const Unit&, const Affine&, const Backward&, int64_t begin, int64_t end, float* sums);
  // grad_z = grad_v * a + z * b + c
  void (*backward_norm)(const Unit&, const Backward&, const float* a, const float* b, const float* c, int64_t begin,
                        int64_t end);
  void (*weight_forward)(const Weight&, bool half, void* out);  // out may be null
  void (*weight_backward)(const Weight&, float k, float t, const float* grad_out, float* grad);
  void (*binary_conv)(const BinaryConv&, int64_t image);
  void (*interleave)(const WeightGradient&, int64_t image, uint16_t* offsets);
  // Adds images [begin, end), of outputs [o, o + 16), to sums [kernel_h][kernel_w][C][16].
  void (*weight_gradient)(const WeightGradient&, const uint16_t* offsets, int64_t begin, int64_t end, int64_t o, float* sums);
  void (*input_gradient)(const InputGradient&, int64_t image);  // null where no instruction suits
  void (*expand)(const uint16_t* bits, int64_t begin, int64_t end, bool half, float high, float low, void* out);
  void (*product)(const Product&, int64_t image, void* y);
  void (*product_backward)(const Product&, const ProductGradients&, int64_t image);
};

// Those in use; see select.h.
const Kernels& select_kernels();

const Kernels& portable_kernels();
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512vpopcnt_kernels();
const Kernels& avx512bf16_kernels();

}  // namespace netsuke::train
