#include <immintrin.h>

#include "train/kernels.h"

using namespace netsuke::train;

namespace {
constexpr const char* kIsa = "avx2";
}

#include "train/all.inl"

const netsuke::train::Kernels& netsuke::train::avx2_kernels() { return kKernels; }
