#include <immintrin.h>

#include "train/kernels.h"

using namespace netsuke::train;

namespace {
constexpr const char* kIsa = "avx512";
}

#include "train/all.inl"

const netsuke::train::Kernels& netsuke::train::avx512_kernels() { return kKernels; }
