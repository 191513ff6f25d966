// The binary arithmetic coder and the mixed, adaptive probabilities of docs/coding.md. Integers only: the same everywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace netsuke::coding {

// Probabilities are of 1, in 65536ths, 1 to 65535.
constexpr int kHalf = 32768, kLeast = 32;
constexpr int kBytesAhead = 4;  // of the stream, that the decoder holds

class Encoder {
 public:
  int code(int bit, uint32_t p);
  // The stream, without the zeros that a decoder reads past its end.
  std::vector<uint8_t> finish();

 private:
  void shift();

  uint64_t low_ = 0;
  uint32_t range_ = 0xffffffffu;
  std::vector<uint8_t> bytes_;
};

class Decoder {
 public:
  Decoder(const uint8_t* bytes, size_t size);
  int code(int, uint32_t p) {
    const uint32_t bound = (range_ >> 16) * p;
    const int bit = code_ < bound;  // as likely as not: without a branch
    const uint32_t other = static_cast<uint32_t>(bit) - 1;
    code_ -= bound & other;
    range_ = bound + ((range_ - 2 * bound) & other);
    while (range_ < 1u << 24) {
      range_ <<= 8;
      code_ = code_ << 8 | next();
    }
    return bit;
  }
  // Whether the stream is as long as what was read of it.
  bool ended() const;

 private:
  uint32_t next() { return at_++ < size_ ? bytes_[at_ - 1] : 0; }

  const uint8_t* bytes_;
  size_t size_, at_ = 0;
  uint32_t range_ = 0xffffffffu, code_ = 0;
};

constexpr int kLimit = 255;      // of Counter::seen

struct Tables {
  int16_t stretch[4096];
  uint16_t squash[4096];  // by the place on the line + 2048
  uint16_t rate[256];     // by what a counter has seen
};
const Tables& tables();

// What is learned of one bit in one context.
struct Counter {
  uint16_t p = kHalf, seen = 0;

  void learn(const Tables& t, int bit) {
    p = static_cast<uint16_t>(p + (((-bit & 65535) - p) * t.rate[seen] >> 16));
    seen = static_cast<uint16_t>(seen + (seen < kLimit));
  }
};

constexpr int kFirstWeight = 14000;

// One probability out of K counters, mixed on the logistic line with weights that are learned (Mahoney 2005, "Adaptive
// Weighing of Context Models for Lossless Data Compression").
template <int K>
struct Mixer {
  int32_t weight[K];
  Mixer() {
    for (int32_t& w : weight) w = kFirstWeight;
  }

  template <class Coder>
  int code(Coder& coder, const Tables& t, int bit, Counter* const (&counters)[K]) {
    int place[K];
    int64_t sum = 0;
    for (int k = 0; k < K; ++k) {
      place[k] = t.stretch[counters[k]->p >> 4];
      sum += int64_t{weight[k]} * place[k];
    }
    sum >>= 16;
    const int64_t mixed = sum < -2047 ? -2047 : sum > 2047 ? 2047 : sum;
    const int p = t.squash[mixed + 2048];
    bit = coder.code(bit, static_cast<uint32_t>(p));
    const int error = (bit << 16) - p;
    for (int k = 0; k < K; ++k) {
      weight[k] += (place[k] * error + 65536) >> 17;
      counters[k]->learn(t, bit);
    }
    return bit;
  }
};

}  // namespace netsuke::coding
