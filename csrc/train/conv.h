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
  // Made by binary_conv():
  int64_t words;                 // of one row of a window, of 32 bits
  uint32_t last_mask;            // bits of its last word that belong to the window
  const uint32_t* weight;        // [kernel_h][words][outputs]
  // y = table[class] - count * popcount(window XOR weight) + ones * popcount(window)
  const int32_t *row_class, *column_class;  // by row and column of the result: its first row of the table, its offset
  const float *table, *count, *ones;
  bool half;
  void* out;                     // (N, H', W', O), channels innermost
};

// The gradient of the binarized weight: sum over images and pixels of a(window) * grad.
struct WeightGradient : ConvShape {
  const uint16_t* bits;          // as above
  float high, low;               // what a is where its bit is 1, and where it is 0
  bool half;
  const void* grad;              // (N, H', W', O), channels innermost
  int64_t width() const { return in_w + 2 * pad_w; }
  int64_t offsets() const { return in_h * width() * channels; }  // of four images
};

// Whether this machine has the instructions for it.
bool has_input_gradient();

// The gradient of the binarized map: sum over taps and outputs of grad * weight.
struct InputGradient : ConvShape {
  bool half;
  const void* grad;              // (N, H', W', O), channels innermost
  void* out;                     // (N, H, W, C), channels innermost
  // Made by input_gradient():
  const uint32_t* index;         // the signs of four outputs' weights: [C / 32][kernel_h][kernel_w][O / 4][32], 16 at the end
  const float* choice;           // [O][16]: what output o's weight is where bit o % 4 of the lane's number is 0, and where 1
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
