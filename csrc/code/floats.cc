#include "code/floats.h"

#include "code/model.h"

namespace netsuke::coding {
namespace {

constexpr int kContexts = 3;
constexpr int kTop = 9;          // sign and exponent
constexpr int kModelled = 6;     // bits of the fraction
constexpr uint32_t kRest = (1u << (23 - kModelled)) - 1;  // the others: all 0, or as likely 0 as 1
constexpr uint32_t kRestNode = 1000;

class Model {
 public:
  template <class Coder>
  void run(Coder& coder, uint32_t* bits, size_t count) {
    uint32_t last = 0, second = 0;
    for (size_t i = 0; i < count; ++i) {
      const uint32_t made = one(coder, bits[i], last, second);
      bits[i] = made;
      second = last, last = made;
    }
  }

 private:
  // Sign and exponent in the context of those of the last number and of the one before; then the fraction's first bits, in
  // that of the last number's: rising numbers, as in a codebook, are close to it.
  template <class Coder>
  uint32_t one(Coder& coder, uint32_t bits, uint32_t last, uint32_t second) {
    uint32_t made = 1;
    for (int i = 0; i < kTop; ++i) {
      const uint32_t contexts[kContexts] = {0, 1 + (last >> 23), 513 + (second >> 23)};
      made = made << 1 | static_cast<uint32_t>(mixed(coder, bits >> (31 - i) & 1, made, contexts));
    }
    const uint32_t top = made & 511, same = top == last >> 23;
    uint32_t fraction = 1;
    for (int i = 0; i < kModelled; ++i) {
      // Of the last number's fraction, one bit more than is known of this one.
      const uint32_t near = same ? (last >> (22 - i) & ((2u << i) - 1)) + 1 : 0;
      const uint32_t contexts[kContexts] = {1025, 1026 + near, 1026 + 128 + (top & 255)};
      fraction = fraction << 1 | static_cast<uint32_t>(mixed(coder, bits >> (22 - i) & 1, 512 + fraction, contexts));
    }
    const uint32_t zeros = ((last & kRest) == 0) * 2u + ((second & kRest) == 0);
    const uint32_t contexts[kContexts] = {0, 1 + zeros, 5 + top};
    if (!mixed(coder, (bits & kRest) != 0, kRestNode, contexts)) return (top << kModelled | (fraction & ((1u << kModelled) - 1))) << (23 - kModelled);
    for (int i = kModelled; i < 23; ++i) fraction = fraction << 1 | static_cast<uint32_t>(coder.code(bits >> (22 - i) & 1, kHalf));
    return top << 23 | (fraction & 0x7fffff);
  }

  template <class Coder>
  int mixed(Coder& coder, uint32_t bit, uint32_t node, const uint32_t (&contexts)[kContexts]) {
    Counter* counters[kContexts];
    for (int k = 0; k < kContexts; ++k) counters[k] = &counters_[(contexts[k] << 10 | node) & (kCounters - 1)];
    return mixers_[node].code(coder, tables_, static_cast<int>(bit), counters);
  }

  static constexpr uint32_t kCounters = 1 << 21;
  std::vector<Counter> counters_ = std::vector<Counter>(kCounters);
  std::vector<Mixer<kContexts>> mixers_ = std::vector<Mixer<kContexts>>(1024);
  const Tables& tables_ = tables();
};

}  // namespace

std::vector<uint8_t> encode_floats(const uint32_t* bits, size_t count) {
  std::vector<uint32_t> own(bits, bits + count);
  Encoder coder;
  Model().run(coder, own.data(), count);
  return coder.finish();
}

bool decode_floats(const uint8_t* stream, size_t size, uint32_t* bits, size_t count) {
  for (size_t i = 0; i < count; ++i) bits[i] = 0;
  Decoder coder(stream, size);
  Model().run(coder, bits, count);
  return coder.ended();
}

}  // namespace netsuke::coding
