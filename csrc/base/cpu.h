// Which instruction sets this build has and this machine can run.
#pragma once

#include <string>
#include <vector>

namespace netsuke {

struct Kernels;

// Names from slowest to fastest: scalar, avx2, avx512, avx512vpopcnt on x86-64; scalar, neon on 64-bit ARM.
std::vector<std::string> available_isas();

// The kernels of `isa`; of the one NETSUKE_ISA names if `isa` is empty; else of the fastest available.
// Throws Error if it is unknown or this machine lacks it.
const Kernels& select_kernels(std::string isa);

}  // namespace netsuke
