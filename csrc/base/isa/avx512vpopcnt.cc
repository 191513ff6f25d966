// AVX-512 with VPOPCNTDQ and VNNI.
#include <immintrin.h>

#include "kernels/kernels.h"

namespace {

constexpr const char* kIsa = "avx512vpopcnt";

#include "base/isa/avx512_vpopcnt.inl"

}  // namespace

#include "kernels/all.inl"

const netsuke::Kernels& netsuke::avx512vpopcnt_kernels() { return kKernels; }
