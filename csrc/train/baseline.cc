#include "train/kernels.h"

using namespace netsuke::train;

namespace {
constexpr const char* kIsa = "baseline";
}

#include "train/all.inl"

const netsuke::train::Kernels& netsuke::train::baseline_kernels() { return kKernels; }
