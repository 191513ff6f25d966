#include "graph/peak.h"

#include <algorithm>
#include <chrono>

#include "base/cpu.h"
#include "base/memory.h"
#include "kernels/kernels.h"

namespace netsuke {
namespace {

constexpr int kTurns = 7;
constexpr double kTurnSeconds = 1e-3;

double rate_of(int64_t (*loop)(int64_t, float*), int64_t rounds, float* memory) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point before = Clock::now();
  const int64_t macs = loop(rounds, memory);
  return static_cast<double>(macs) / std::chrono::duration<double>(Clock::now() - before).count();
}

// The median of some turns of about a millisecond.
double typical_rate(int64_t (*loop)(int64_t, float*)) {
  Buffer<float> memory(kLoopFloats);
  int64_t rounds = 1000;
  const double guess = rate_of(loop, rounds, memory.data());
  rounds = std::max<int64_t>(rounds, static_cast<int64_t>(kTurnSeconds * guess * static_cast<double>(rounds) /
                                                          static_cast<double>(loop(rounds, memory.data()))));
  double rates[kTurns];
  for (double& rate : rates) rate = rate_of(loop, rounds, memory.data());
  std::nth_element(rates, rates + kTurns / 2, rates + kTurns);
  return rates[kTurns / 2];
}

}  // namespace

Peak measure_peak(const std::string& isa) {
  const Kernels& k = select_kernels(isa);
  return {typical_rate(k.binary_loop), typical_rate(k.float_loop), typical_rate(k.int8_loop)};
}

}  // namespace netsuke
