#pragma once

#include <cstdint>
#include <cstring>

namespace netsuke::train {

// To nearest, ties to even.
inline uint16_t bfloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace netsuke::train
