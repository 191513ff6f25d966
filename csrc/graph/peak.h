// What the arithmetic of this machine allows: the rate of each family's inner loop alone.
#pragma once

#include <string>

namespace netsuke {

struct Peak {
  double binary, floats, int8;  // multiply-accumulates a second, of one thread
};

// An empty isa lets NETSUKE_ISA or the machine decide. Takes some 10 ms. Throws Error.
Peak measure_peak(const std::string& isa);

}  // namespace netsuke
