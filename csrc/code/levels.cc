#include "code/levels.h"

#include <algorithm>
#include <cstdlib>

#include "code/model.h"

namespace netsuke::coding {
namespace {

constexpr int kContexts = 6, kPerContext = 256;
constexpr int kMostBits = 15;    // of a magnitude
constexpr int kModelled = 3;     // of those below the first; the others are as likely 0 as 1

// 0, 1, 2, 3, 4 to 5, 6 to 7, 8 to 11, ... as 0, 1, 2, ... 15.
int magnitude_class(int m) {
  if (m < 4) return m;
  const int high = 31 - __builtin_clz(static_cast<unsigned>(m));
  return std::min(15, 2 * high + (m >> (high - 1) & 1));
}

// Of a running mean of signs, 4096 times: 0 to 15.
int sign_class(int s) { return std::min(15, (s + 4096) >> 9); }
int sign(int v) { return v > 0 ? 1 : v < 0 ? 2 : 0; }

// Running means of the levels that share something: 64 times the magnitude, 4096 times the sign.
struct Mean {
  int magnitude = 0, sign = 0;
};

// One bit in kContexts contexts at once.
class Mixed {
 public:
  Mixed() : counters_(kContexts * kPerContext) {}

  template <class Coder>
  int code(Coder& coder, int bit, const int (&contexts)[kContexts]) {
    Counter* counters[kContexts];
    for (int k = 0; k < kContexts; ++k) counters[k] = &counters_[static_cast<size_t>(k * kPerContext + contexts[k])];
    return mixer_.code(coder, tables_, bit, counters);
  }

 private:
  std::vector<Counter> counters_;
  Mixer<kContexts> mixer_;
  const Tables& tables_ = tables();
};

class Model {
 public:
  Model(const Levels& shape, int16_t* levels)
      : s_(shape), levels_(levels), most_(std::max(-shape.least, shape.most)), row_(shape.width * shape.channels),
        window_(shape.height * row_), of_tap_(static_cast<size_t>(window_)), of_channel_(static_cast<size_t>(shape.channels)) {}

  template <class Coder>
  bool run(Coder& coder) {
    int16_t* at = levels_;
    for (output_ = 0; output_ < s_.outputs; ++output_) {
      of_output_ = Mean();
      tap_ = 0;
      for (y_ = 0; y_ < s_.height; ++y_)
        for (x_ = 0; x_ < s_.width; ++x_)
          for (channel_ = 0; channel_ < s_.channels; ++channel_, ++at, ++tap_) {
            const int level = one(coder, at);
            if (level < s_.least || level > s_.most) return false;
            *at = static_cast<int16_t>(level);
            learn(std::abs(level) * 64);
          }
    }
    return true;
  }

 private:
  template <class Coder>
  int one(Coder& coder, const int16_t* at) {
    const int left = x_ ? at[-s_.channels] : 0, up = y_ ? at[-row_] : 0;
    const int before = channel_ ? at[-1] : 0, before2 = channel_ > 1 ? at[-2] : 0;
    const int above = output_ ? at[-window_] : 0, above2 = output_ > 1 ? at[-2 * window_] : 0;
    const Mean &of_tap = of_tap_[static_cast<size_t>(tap_)], &of_channel = of_channel_[static_cast<size_t>(channel_)];
    const int near = magnitude_class((std::abs(left) + std::abs(up)) * (x_ && y_ ? 1 : 2));
    const int ahead = magnitude_class(std::abs(before) + std::abs(before2));
    const int over = magnitude_class(std::abs(above) + std::abs(above2));
    const int tap = magnitude_class(of_tap.magnitude >> 5), channel = magnitude_class(of_channel.magnitude >> 5);
    const int output = magnitude_class(of_output_.magnitude >> 5);
    const int zero_contexts[kContexts] = {0, near * 16 + channel, ahead * 16 + output, tap * 16 + output, near * 16 + tap, over * 16 + channel};
    const int level = *at;
    if (most_ == 0 || !not_zero_.code(coder, level != 0, zero_contexts)) return 0;
    const int magnitude = this->magnitude(coder, std::abs(level), magnitude_class((of_output_.magnitude + of_channel.magnitude) >> 6));
    if (s_.least == 0) return magnitude;
    if (s_.most == 0) return -magnitude;
    const int corner = x_ && y_ ? at[-row_ - s_.channels] : 0, other = y_ && x_ + 1 < s_.width ? at[-row_ + s_.channels] : 0;
    const bool flat = window_ == s_.channels;
    const int around = flat ? sign(before2) * 3 + sign(before) : ((sign(left) * 3 + sign(up)) * 3 + sign(corner)) * 3 + sign(other);
    const int along = flat ? sign(above2) * 3 + sign(above) : (sign(before) * 3 + sign(above)) * 3 + sign(left);
    const int tap_sign = sign_class(of_tap.sign), channel_sign = sign_class(of_channel.sign);
    const int sign_contexts[kContexts] = {0, around, along, sign_class(of_output_.sign), tap_sign, channel_sign * 16 + tap_sign};
    const bool negative = negative_.code(coder, level < 0, sign_contexts);
    learn_sign(negative ? -4096 : 4096);
    return negative ? -magnitude : magnitude;
  }

  // Of a level that is not 0: how many bits, then these.
  template <class Coder>
  int magnitude(Coder& coder, int magnitude, int context) {
    int bits = 1;
    while (most_ >> bits && alone(coder, longer_[bits][context], magnitude >> bits != 0)) ++bits;
    int made = 1;
    for (int below = 0; below < bits - 1; ++below) {
      const int next = magnitude >> (bits - 2 - below) & 1;
      made = made << 1 | (below < kModelled ? alone(coder, mantissa_[bits][made], next) : coder.code(next, kHalf));
    }
    return made;
  }

  template <class Coder>
  int alone(Coder& coder, Counter& counter, int bit) {
    bit = coder.code(bit, std::clamp<uint32_t>(counter.p, kLeast, 65536 - kLeast));
    counter.learn(tables_, bit);
    return bit;
  }

  void learn(int target) {
    Mean &of_tap = of_tap_[static_cast<size_t>(tap_)], &of_channel = of_channel_[static_cast<size_t>(channel_)];
    of_output_.magnitude += (target - of_output_.magnitude) >> 4;
    of_channel.magnitude += (target - of_channel.magnitude) >> 3;
    of_tap.magnitude += (target - of_tap.magnitude) >> (output_ < 2 ? 1 : output_ < 6 ? 2 : 3);
  }

  void learn_sign(int target) {
    Mean &of_tap = of_tap_[static_cast<size_t>(tap_)], &of_channel = of_channel_[static_cast<size_t>(channel_)];
    of_output_.sign += (target - of_output_.sign) >> 4;
    of_channel.sign += (target - of_channel.sign) >> 4;
    of_tap.sign += (target - of_tap.sign) >> 3;
  }

  const Levels& s_;
  int16_t* levels_;
  int most_;
  int64_t row_, window_, output_ = 0, y_ = 0, x_ = 0, channel_ = 0, tap_ = 0;
  std::vector<Mean> of_tap_, of_channel_;
  Mean of_output_;
  Mixed not_zero_, negative_;
  Counter longer_[kMostBits + 1][16], mantissa_[kMostBits + 1][1 << kModelled];
  const Tables& tables_ = tables();
};

}  // namespace

std::vector<uint8_t> encode(const Levels& shape, const int16_t* levels) {
  std::vector<int16_t> own(levels, levels + shape.count());
  Encoder coder;
  Model(shape, own.data()).run(coder);
  return coder.finish();
}

bool decode(const Levels& shape, const uint8_t* stream, size_t size, int16_t* levels) {
  std::fill(levels, levels + shape.count(), int16_t{0});
  Decoder coder(stream, size);
  return Model(shape, levels).run(coder) && coder.ended();
}

}  // namespace netsuke::coding
