// Floats, without loss (docs/coding.md, section 3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace netsuke::coding {

// bits: of IEEE binary32 numbers.
std::vector<uint8_t> encode_floats(const uint32_t* bits, size_t count);

// False where the stream is damaged: bytes missing or left.
bool decode_floats(const uint8_t* stream, size_t size, uint32_t* bits, size_t count);

}  // namespace netsuke::coding
