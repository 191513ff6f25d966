#include "train/unit.h"

using namespace netsuke::train;

namespace {
constexpr const char* kIsa = "baseline";
}

#include "train/unit.inl"

const netsuke::train::Kernels& netsuke::train::baseline_kernels() { return kKernels; }
