#include "train/unit.h"

using namespace netsuke::train;

namespace {
constexpr const char* kIsa = "avx512";
}

#include "train/unit.inl"

const netsuke::train::Kernels& netsuke::train::avx512_kernels() { return kKernels; }
