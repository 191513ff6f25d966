// Training kernels: what stands between two convolutions of a binary network, in one pass forward and two backward.
//
//   v = batch_norm(z) + r        y = v >= 0 ? positive * v : negative * v
//   a = alpha * sign((y - beta) / alpha) + gamma (AdaBin), or sign(y + bias), a bias a channel (RSign)
//
// z, r, y, a and their gradients are maps of pixels x channels numbers, channels innermost (PyTorch's channels_last),
// all float32 or all bfloat16. Sums are taken over fixed runs of whole images and added up in one order, so the result
// does not depend on the number of threads.
#pragma once

#include <cstdint>

namespace netsuke::train {

struct Unit {
  int64_t images, image, channels;  // image: pixels of one
  int64_t pixels() const { return images * image; }
  bool half;                    // bfloat16 maps
  const void *z, *r;            // r may be null
  // Batch norm. With `batch` the statistics are the batch's, written to mean and rstd, and the running ones, where there
  // are any, move towards them by `momentum`; without, mean and rstd are given.
  bool batch;
  const float *weight, *bias;   // both null: 1 and 0
  float *mean, *rstd, *running_mean, *running_var;
  double epsilon, momentum;
  const float *positive, *negative;  // null: 1
  // The binarizer behind it, if any: AdaBin's has alpha and beta, and gamma = beta, or alpha * beta if `published`; RSign's
  // has a bias, and its estimator is 1 where |y + bias| <= bound.
  const float *alpha, *beta;
  bool published;
  const float* rsign;
  double bound;
  bool binary() const { return alpha || rsign; }
};

struct Forward {
  void *y, *a;                  // either may be null
  uint16_t* bits;               // the signs of a, a bit a channel, or null; channels is then a multiple of 16
  float* means;                 // of y in each image, images x channels, or null
};

struct Backward {
  const void *grad_y, *grad_a;  // either may be null
  const float* grad_means;      // may be null
  void *grad_v, *grad_z;        // grad_v is also the gradient of r; without a norm it is z's as well, and grad_z null
  float *grad_weight, *grad_bias, *grad_positive, *grad_negative, *grad_alpha, *grad_beta, *grad_rsign;  // null where there is none
};

constexpr int64_t kRun = 1024;  // pixels of a run, rounded to whole images, one at least
enum Sum { kSumV, kSumVZ, kSumPositive, kSumNegative, kSumAlpha, kSumBeta, kSums };

// Kernels take one image at a time: means and grad_means are then its own.
struct Affine {
  const float *scale, *shift;   // v = z * scale + shift + r
};

void forward(const Unit&, const Forward&, int threads);
void backward(const Unit&, const Backward&, int threads);

}  // namespace netsuke::train
