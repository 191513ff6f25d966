#include "train/select.h"

#include "train/kernels.h"

namespace netsuke::train {
namespace {

struct Candidate {
  const Kernels& (*kernels)();
  bool (*runs_here)();
};

#if defined(__x86_64__)
bool avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

// Slowest first.
const Candidate kCandidates[] = {
    {portable_kernels, [] { return true; }},
#if defined(__x86_64__)
    {avx2_kernels, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
    {avx512_kernels, avx512},
    {avx512vpopcnt_kernels, [] { return avx512() && __builtin_cpu_supports("avx512vpopcntdq"); }},
    {avx512bf16_kernels,
     [] { return avx512() && __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512bf16"); }},
#endif
};

const Kernels* best() {
  const Kernels* kernels = nullptr;
  for (const Candidate& c : kCandidates)
    if (c.runs_here()) kernels = &c.kernels();
  return kernels;
}

const Kernels*& selected() {
  static const Kernels* kernels = best();
  return kernels;
}

}  // namespace

const Kernels& select_kernels() { return *selected(); }

std::vector<std::string> available() {
  std::vector<std::string> names;
  for (const Candidate& c : kCandidates)
    if (c.runs_here()) names.push_back(c.kernels().isa);
  return names;
}

bool use(const std::string& isa) {
  for (const Candidate& c : kCandidates)
    if (c.runs_here() && c.kernels().isa == isa) {
      selected() = &c.kernels();
      return true;
    }
  return false;
}

}  // namespace netsuke::train
