#include <immintrin.h>

#include "train/kernels.h"

using namespace netsuke::train;

namespace {
constexpr const char* kIsa = "avx512bf16";
}

#include "train/all.inl"

const netsuke::train::Kernels& netsuke::train::avx512bf16_kernels() { return kKernels; }
