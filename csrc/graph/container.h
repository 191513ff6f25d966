// The container (docs/format.md, section 1): a canonical safetensors file with a checksum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace netsuke {

struct Container {
  const uint8_t* floats;
  size_t float_count;
  const uint8_t* bits;
  size_t bit_bytes;
  std::string graph;  // JSON text, inflated
};

// Throws Error if the bytes are no netsuke file or were changed since it was written. Points into `data`.
Container open_container(const uint8_t* data, size_t size);

}  // namespace netsuke
