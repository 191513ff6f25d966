#include "train/kernels.h"

namespace netsuke::train {

const Kernels& select_kernels() {
  static const Kernels& kernels = []() -> const Kernels& {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
      return !__builtin_cpu_supports("avx512vpopcntdq") ? avx512_kernels()
             : __builtin_cpu_supports("avx512bf16")     ? avx512bf16_kernels()
                                                        : avx512vpopcnt_kernels();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2_kernels();
#endif
    return baseline_kernels();
  }();
  return kernels;
}

}  // namespace netsuke::train
