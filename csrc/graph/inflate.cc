#include "graph/inflate.h"

#include "base/error.h"

namespace netsuke {
namespace {

[[noreturn]] void damaged() { fail("the graph is damaged: it does not inflate. Export the file again."); }

struct Bits {
  const uint8_t* data;
  size_t size, at = 0;
  uint32_t held = 0;
  int count = 0;

  uint32_t take(int n) {
    while (count < n) {
      if (at == size) damaged();
      held |= uint32_t{data[at++]} << count;
      count += 8;
    }
    const uint32_t bits = held & ((1u << n) - 1);
    held >>= n;
    count -= n;
    return bits;
  }
};

// A canonical Huffman code: symbols ordered by code length, then by value.
struct Code {
  uint16_t count[16] = {};
  uint16_t symbol[288] = {};

  // zlib's rule: an incomplete code is refused unless it has one code of one bit (and is no code-length code), or none.
  void build(const uint8_t* lengths, int n, bool may_be_incomplete) {
    for (uint16_t& c : count) c = 0;
    for (int i = 0; i < n; ++i) ++count[lengths[i]];
    int left = 1, longest = 0;
    for (int bits = 1; bits < 16; ++bits) {
      left = (left << 1) - count[bits];
      if (left < 0) damaged();
      if (count[bits]) longest = bits;
    }
    if (longest > 0 && left > 0 && !(may_be_incomplete && longest == 1)) damaged();
    uint16_t next[16] = {};
    for (int bits = 1; bits < 15; ++bits) next[bits + 1] = static_cast<uint16_t>(next[bits] + count[bits]);
    for (int i = 0; i < n; ++i)
      if (lengths[i]) symbol[next[lengths[i]]++] = static_cast<uint16_t>(i);
  }

  int decode(Bits& in) const {
    int code = 0, first = 0, index = 0;
    for (int bits = 1; bits < 16; ++bits) {
      code |= static_cast<int>(in.take(1));
      if (code - first < count[bits]) return symbol[index + code - first];
      index += count[bits];
      first = (first + count[bits]) << 1;
      code <<= 1;
    }
    damaged();
  }
};

constexpr uint16_t kLength[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                  31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
constexpr uint8_t kLengthBits[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
constexpr uint16_t kDistance[30] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                    193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
constexpr uint8_t kDistanceBits[30] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                       6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};

void read_codes(Bits& in, Code& literals, Code& distances) {
  constexpr uint8_t kOrder[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
  const int n_literals = static_cast<int>(in.take(5)) + 257, n_distances = static_cast<int>(in.take(5)) + 1;
  const int n_lengths = static_cast<int>(in.take(4)) + 4;
  if (n_literals > 286 || n_distances > 30) damaged();
  uint8_t lengths[320] = {};
  for (int i = 0; i < n_lengths; ++i) lengths[kOrder[i]] = static_cast<uint8_t>(in.take(3));
  Code code;
  code.build(lengths, 19, false);
  const int total = n_literals + n_distances;
  uint8_t all[320] = {};
  for (int i = 0; i < total;) {
    const int symbol = code.decode(in);
    if (symbol < 16) {
      all[i++] = static_cast<uint8_t>(symbol);
      continue;
    }
    if (symbol == 16 && i == 0) damaged();
    const uint8_t value = symbol == 16 ? all[i - 1] : 0;
    int repeat = symbol == 16 ? 3 + static_cast<int>(in.take(2))
                              : symbol == 17 ? 3 + static_cast<int>(in.take(3)) : 11 + static_cast<int>(in.take(7));
    if (i + repeat > total) damaged();
    while (repeat--) all[i++] = value;
  }
  if (all[256] == 0) damaged();
  literals.build(all, n_literals, true);
  distances.build(all + n_literals, n_distances, true);
}

void fixed_codes(Code& literals, Code& distances) {
  uint8_t lengths[288];
  for (int i = 0; i < 288; ++i) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
  literals.build(lengths, 288, true);
  for (int i = 0; i < 32; ++i) lengths[i] = 5;
  distances.build(lengths, 32, true);
}

void put(std::string& out, char byte, size_t most) {
  if (out.size() == most) damaged();
  out.push_back(byte);
}

void stored(Bits& in, std::string& out, size_t most) {
  in.held = 0, in.count = 0;  // to the next byte: never more than 7 bits are held between symbols
  const uint32_t length = in.take(16), check = in.take(16);
  if (length != (check ^ 0xffff)) damaged();
  for (uint32_t i = 0; i < length; ++i) put(out, static_cast<char>(in.take(8)), most);
}

void compressed(Bits& in, const Code& literals, const Code& distances, std::string& out, size_t most) {
  while (true) {
    const int symbol = literals.decode(in);
    if (symbol == 256) return;
    if (symbol < 256) {
      put(out, static_cast<char>(symbol), most);
      continue;
    }
    if (symbol > 285) damaged();
    const uint32_t length = kLength[symbol - 257] + in.take(kLengthBits[symbol - 257]);
    const int d = distances.decode(in);
    if (d > 29) damaged();
    const size_t distance = kDistance[d] + in.take(kDistanceBits[d]);
    if (distance > out.size()) damaged();
    for (uint32_t i = 0; i < length; ++i) put(out, out[out.size() - distance], most);
  }
}

}  // namespace

std::string inflate(const uint8_t* data, size_t size, size_t most) {
  if (size < 6) damaged();
  const uint32_t head = uint32_t{data[0]} << 8 | data[1];
  if (head % 31 != 0 || (data[0] & 15) != 8 || (data[0] >> 4) > 7 || (data[1] & 0x20)) damaged();
  Bits in{data + 2, size - 2};
  std::string out;
  for (bool last = false; !last;) {
    last = in.take(1);
    const uint32_t kind = in.take(2);
    Code literals, distances;
    if (kind == 0) {
      stored(in, out, most);
      continue;
    }
    if (kind == 3) damaged();
    kind == 1 ? fixed_codes(literals, distances) : read_codes(in, literals, distances);
    compressed(in, literals, distances, out, most);
  }
  in.held = 0, in.count = 0;
  uint32_t a = 1, b = 0;
  for (unsigned char c : out) a = (a + c) % 65521, b = (b + a) % 65521;
  uint32_t check = 0;
  for (int i = 0; i < 4; ++i) check = check << 8 | in.take(8);
  if (check != (b << 16 | a) || in.at != in.size) damaged();
  return out;
}

}  // namespace netsuke
