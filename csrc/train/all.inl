#include "train/vectors.inl"
#include "train/unit.inl"
#include "train/weight.inl"
#include "train/conv.inl"
#include "train/gradient.inl"
#include "train/product.inl"

namespace {
constexpr netsuke::train::Kernels kKernels = {kIsa,          moments,         forward,         backward,
                                              backward_norm, weight_forward,  weight_backward, binary_conv,
                                              interleave,    weight_gradient, input_gradient,  expand,
                                              product,       product_backward};
}
