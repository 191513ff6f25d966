#include <immintrin.h>

#include "train/kernels.h"

using namespace netsuke::train;

namespace {
constexpr const char* kIsa = "avx512vpopcnt";
}

#include "train/all.inl"

const netsuke::train::Kernels& netsuke::train::avx512vpopcnt_kernels() { return kKernels; }
