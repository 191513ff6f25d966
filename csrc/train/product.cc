#include "train/product.h"

#include "train/kernels.h"
#include "train/parallel.h"

namespace netsuke::train {

void product(const Product& p, void* y, int threads) {
  const Kernels& kernels = select_kernels();
  parallel(p.images, threads, [&](int64_t image) { kernels.product(p, image, y); });
}

void product_backward(const Product& p, const ProductGradients& g, int threads) {
  const Kernels& kernels = select_kernels();
  parallel(p.images, threads, [&](int64_t image) { kernels.product_backward(p, g, image); });
}

}  // namespace netsuke::train
