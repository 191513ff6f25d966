#include "code/model.h"

namespace netsuke::coding {

int Encoder::code(int bit, uint32_t p) {
  const uint32_t bound = (range_ >> 16) * p;
  if (bit) {
    range_ = bound;
  } else {
    low_ += bound;
    range_ -= bound;
  }
  while (range_ < 1u << 24) {
    range_ <<= 8;
    shift();
  }
  return bit;
}

// The top byte of `low_`'s lower half is settled but for a carry, which goes into the bytes before it.
void Encoder::shift() {
  if (low_ >> 32) {
    for (size_t i = bytes_.size(); ++bytes_[--i] == 0;) {}
    low_ &= 0xffffffffu;
  }
  bytes_.push_back(static_cast<uint8_t>(low_ >> 24));
  low_ = (low_ & 0xffffffu) << 8;
}

std::vector<uint8_t> Encoder::finish() {
  // The number in [low, low + range) with the most zeros at its end.
  for (int bits = 32; bits >= 0; --bits) {
    const uint64_t step = uint64_t{1} << bits, rounded = (low_ + step - 1) / step * step;
    if (rounded >= low_ + range_) continue;
    low_ = rounded;
    break;
  }
  const size_t read = bytes_.size() + kBytesAhead;
  for (int i = 0; i < kBytesAhead; ++i) shift();
  while (!bytes_.empty() && bytes_.back() == 0 && bytes_.size() + kBytesAhead > read) bytes_.pop_back();
  return bytes_;
}

Decoder::Decoder(const uint8_t* bytes, size_t size) : bytes_(bytes), size_(size) {
  for (int i = 0; i < kBytesAhead; ++i) code_ = code_ << 8 | next();
}

bool Decoder::ended() const {
  const size_t whole = size_ + kBytesAhead;
  return size_ <= at_ && at_ <= whole && (at_ == whole || bytes_[size_ - 1] != 0);
}

// 65536 / (1 + exp(-x)) at x = -8, -7.5, ... 8.
constexpr int kCurve[33] = {22,    36,    60,    98,    162,   267,   439,   720,   1179,  1921,  3108,
                            4971,  7812,  11955, 17625, 24743, 32768, 40793, 47911, 53581, 57724, 60565,
                            62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514};

const Tables& tables() {
  static const Tables made = [] {
    Tables t;
    for (int d = -2048; d < 2048; ++d) {
      const int at = (d + 2048) / 128, part = (d + 2048) % 128;
      t.squash[d + 2048] = static_cast<uint16_t>((kCurve[at] * (128 - part) + kCurve[at + 1] * part + 64) >> 7);
    }
    int d = -2047;
    for (int i = 0; i < 4096; ++i) {
      while (d < 2047 && t.squash[d + 2048] < i * 16 + 8) ++d;
      t.stretch[i] = static_cast<int16_t>(d);
    }
    for (int n = 0; n <= kLimit; ++n) t.rate[n] = static_cast<uint16_t>(655360 / (10 * n + 16));
    return t;
  }();
  return made;
}

}  // namespace netsuke::coding
