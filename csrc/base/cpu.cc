#include "base/cpu.h"

#include <cstdlib>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "base/error.h"
#include "kernels/kernels.h"

namespace netsuke {
namespace {

struct Candidate {
  const Kernels& (*kernels)();
  bool (*runs_here)();
};

#if defined(__x86_64__)
// The kernels of avx512vpopcnt, with 8-bit convolutions that can use tiles.
const Kernels& tiled_kernels() {
  static const Kernels kernels = [] {
    Kernels k = avx512vpopcnt_kernels();
    const Kernels& tiled = amx_kernels();
    k.isa = tiled.isa, k.tiles = tiled.tiles, k.int8_conv = tiled.int8_conv;
    return k;
  }();
  return kernels;
}

// Tiles need the processor, the system, and a permission for the whole process.
bool runs_tiles() {
  if (!__builtin_cpu_supports("avx512vpopcntdq") || !__builtin_cpu_supports("avx512vnni")) return false;
#if defined(NETSUKE_EMULATE_TILES)
  return true;
#elif defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-int8") &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

// Slowest first. A new instruction set is one line here, one in CMakeLists.txt, and its primitives file.
const Candidate kCandidates[] = {
    {scalar_kernels, [] { return true; }},
#if defined(__x86_64__)
    {avx2_kernels, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
    {avx512_kernels,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
     }},
    // Not what a machine runs by itself until it has been timed on one: it must be asked for.
    {tiled_kernels, runs_tiles},
    {avx512vpopcnt_kernels,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512vnni");
     }},
#elif defined(__aarch64__)
    {neon_kernels, [] { return true; }},  // part of the architecture
#endif
};

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Candidate& c : kCandidates)
    if (c.runs_here()) names.push_back(c.kernels().isa);
  return names;
}

const Kernels& select_kernels(std::string isa) {
  if (isa.empty()) {
    const char* forced = std::getenv("NETSUKE_ISA");
    if (forced) isa = forced;
  }
  const Kernels* best = nullptr;
  std::string here;
  bool known = false;
  for (const Candidate& c : kCandidates) {
    const Kernels& k = c.kernels();
    known = known || isa == k.isa;
    if (!c.runs_here()) continue;
    if (isa.empty() || isa == k.isa) best = &k;
    here += (here.empty() ? "" : ", ") + std::string(k.isa);
  }
  if (best) return *best;
  fail(std::string(known ? "this machine cannot run the instruction set '" : "this build has no instruction set '") + isa +
       "'. Use one of: " + here + ".");
}

}  // namespace netsuke
