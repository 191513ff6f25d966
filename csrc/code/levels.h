// Weights as whole numbers, in a stream of their own (docs/coding.md, section 2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace netsuke::coding {

constexpr int kMostLevel = 32767;

// Levels lie in the order (outputs, height, width, channels); least <= level <= most, least <= 0 <= most.
struct Levels {
  int64_t outputs, height, width, channels;
  int least, most;
  int64_t count() const { return outputs * height * width * channels; }
};

std::vector<uint8_t> encode(const Levels&, const int16_t* levels);

// False where the stream is damaged: a level out of its range, bytes missing or left.
bool decode(const Levels&, const uint8_t* stream, size_t size, int16_t* levels);

}  // namespace netsuke::coding
