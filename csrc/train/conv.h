// The forward of a binary convolution while it trains, by counting bits: exact sums where a convolution of bfloat16 rounds
// both operands.
//
//   y = alpha_w * alpha_a * D + alpha_w * gamma * Sw + beta_w * alpha_a * Sa + beta_w * gamma * n      (docs/format.md, 4)
//
// over the taps inside the image, with a = alpha_a * s_a + gamma and w = alpha_w * s_w + beta_w.
#pragma once

#include <cstddef>
#include <cstdint>

namespace netsuke::train {

struct ConvShape {
  int64_t images, in_h, in_w, channels, out_h, out_w, outputs;  // channels and outputs are multiples of 16
  int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
};

struct BinaryConv : ConvShape {
  const uint16_t* bits;          // (N, H, W, C / 16): bit i of a word is channel i, 1 for s_a = +1
  // Made by prepare():
  int64_t words;                 // of one row of a window, of 32 bits
  uint32_t last_mask;            // bits of its last word that belong to the window
  const uint32_t* weight;        // [kernel_h][words][outputs]
  // y = table[class] - count * popcount(window XOR weight) + ones * popcount(window)
  const int32_t *row_class, *column_class;  // by row and column of the result: its first row of the table, its offset
  const float *table, *count, *ones;
  bool half;
  void* out;                     // (N, H', W', O), channels innermost
};

// The gradient of the binarized weight: sum over images and pixels of a(window) * grad, for bfloat16 maps.
struct WeightGradient : ConvShape {
  const uint16_t* bits;          // as above
  uint16_t high, low;            // what a is where its bit is 1, and where it is 0
  const uint16_t* grad;          // (N, H', W', O), channels innermost
};

// Whether this machine has kernels for the gradients; that of the weight takes a kernel_w of 1 or 3.
bool multiplies_halves();

// The gradient of the binarized map: sum over taps and outputs of grad * weight, for bfloat16 maps.
struct InputGradient : ConvShape {
  const uint16_t* grad;          // (N, H', W', O), channels innermost
  uint16_t* out;                 // (N, H, W, C), channels innermost
  const uint32_t* weight;        // made by prepare: [kernel_h][kernel_w][O / 2][C], outputs 2i and 2i + 1 in a word
};

// Into `out`, shaped and strided as the latent weight.
struct Strided {
  float* data;
  int64_t stride_o, stride_c, stride_h, stride_w;
};
void weight_gradient(const WeightGradient&, const Strided& out, int threads);

// a as a map of float32 or bfloat16 (N, H, W, C): high or low.
void expand(const uint16_t* bits, int64_t words, bool half, float high, float low, void* out, int threads);

// The latent weight is (O, C, kernel_h, kernel_w) with these strides; alpha_w and beta_w are a value a filter.
struct Latent {
  const float* weight;
  int64_t stride_o, stride_c, stride_h, stride_w;
  const float *alpha_w, *beta_w;
  float alpha_a, gamma;
};

void binary_conv(BinaryConv, const Latent&, int threads);

// Of the latent weight, alpha_w and beta_w alone are read.
void input_gradient(InputGradient, const Latent&, int threads);

}  // namespace netsuke::train
