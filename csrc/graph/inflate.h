// zlib streams (RFC 1950, RFC 1951), small and strict: the same verdict as Python's zlib on every input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace netsuke {

// The text of the one zlib stream that fills `data`. Throws Error if it is damaged, uses a preset dictionary, is
// followed by anything, or inflates to more than `most` bytes.
std::string inflate(const uint8_t* data, size_t size, size_t most);

}  // namespace netsuke
