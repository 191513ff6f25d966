// For libFuzzer (make fuzz): the decoder of coded arrays, and the reader of whole files behind a right checksum.
//
// The first byte says what the rest is: 0, two bytes of a count and a stream of floats; 1, four bytes of a shape, two of
// the least and the largest level, and a stream of levels; 2, a file.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "code/floats.h"
#include "code/levels.h"
#include "graph/graph.h"
#include "graph/sha256.h"

namespace {

// What a sound stream decodes to must survive being coded again.
void require(bool holds) {
  if (!holds) std::abort();
}

void floats(const uint8_t* data, size_t size) {
  if (size < 2) return;
  const size_t count = static_cast<size_t>(data[0] | data[1] << 8);
  std::vector<uint32_t> bits(count), again(count);
  if (!netsuke::coding::decode_floats(data + 2, size - 2, bits.data(), count)) return;
  const std::vector<uint8_t> stream = netsuke::coding::encode_floats(bits.data(), count);
  require(netsuke::coding::decode_floats(stream.data(), stream.size(), again.data(), count) && again == bits);
}

void levels(const uint8_t* data, size_t size) {
  if (size < 6) return;
  const netsuke::coding::Levels shape{1 + data[0] % 32, 1 + data[1] % 8, 1 + data[2] % 8, 1 + data[3] % 32,
                                      -data[4] * data[4] / 2, data[5] * data[5] / 2};
  const size_t count = static_cast<size_t>(shape.count());
  std::vector<int16_t> found(count), again(count);
  if (!netsuke::coding::decode(shape, data + 6, size - 6, found.data())) return;
  for (int16_t level : found) require(shape.least <= level && level <= shape.most);
  const std::vector<uint8_t> stream = netsuke::coding::encode(shape, found.data());
  require(netsuke::coding::decode(shape, stream.data(), stream.size(), again.data()) && again == found);
}

void file(const uint8_t* data, size_t size) {
  const std::string head = "{\"__metadata__\":{\"netsuke\":\"1:";
  const size_t at = 8 + head.size();
  if (size < at + 64) return;
  std::vector<uint8_t> made(data, data + size);
  std::memset(made.data() + at, '0', 64);
  netsuke::Sha256 hash;
  hash.update(made.data(), made.size());
  std::memcpy(made.data() + at, hash.hex().data(), 64);
  try {
    netsuke::read_graph(made.data(), made.size(), 1);
  } catch (const netsuke::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (!size) return 0;
  (data[0] == 0 ? floats : data[0] == 1 ? levels : file)(data + 1, size - 1);
  return 0;
}
