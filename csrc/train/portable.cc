#include "train/kernels.h"

using namespace netsuke::train;

namespace {
constexpr const char* kIsa = "portable";
}

#include "train/all.inl"

const netsuke::train::Kernels& netsuke::train::portable_kernels() { return kKernels; }
