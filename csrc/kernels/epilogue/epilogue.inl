// The epilogue over a tile of the result: pixels [pixel, pixel + count), channels [channel, channel + width), width a
// multiple of L. A stage is a run of steps that fits into registers: for every vector of channels its parameters are
// loaded once, then every pixel of the tile goes through the whole stage. The steps most networks have are compile-time
// flags of the stage; affine and clamp are a branch that always goes the same way.

namespace {

using netsuke::Epilogue;
using netsuke::Stage;

struct Tile {
  float* y;  // y[i * stride + c] is pixel i, channel (channel + c)
  int64_t stride;
  int pixel, count, channel, width;
};

// Where a stage takes y from when it was not counted by a binary convolution: the tile itself.
struct FromTile {
  struct Channels {
    const float* y;
    int64_t stride;
    F operator()(int i) const { return f_load(y + i * stride); }
  };
  Tile t;
  Channels at(int c) const { return {t.y + c, t.stride}; }
};

// A plain stage has no affine and no clamp, does not flip its bits, and is the last one: the inner loop is then short
// enough for the general registers.
template <int flags, bool plain, class Source>
void run_stage(const Stage& s, const Source& source, const Tile& t, int channels, bool last) {
  constexpr bool add = flags & Stage::kAdd, slope = flags & Stage::kTwoSlope, store = flags & Stage::kStore,
                 bits = flags & Stage::kBinarize;
  const bool affine = !plain && (s.flags & Stage::kAffine), clamp = !plain && (s.flags & Stage::kClamp);
  const bool flip = !plain && s.flip, keep = !plain && !last;
  // Copies: what the loop writes might be the stage itself, for all the compiler knows.
  const int64_t add_stride = s.add_stride, store_stride = s.store_stride, bits_stride = s.bits_stride;
  const int count = t.count;
  for (int c = 0; c < t.width; c += L) {
    const int channel = t.channel + c;
    const auto y_of = source.at(c);
    const F positive = slope ? f_load(s.positive + channel) : f_set1(0), negative = slope ? f_load(s.negative + channel) : f_set1(0);
    F threshold = f_set1(0);
    uint32_t inside = ~0u;  // lanes that are channels
    if (bits) {
      threshold = s.one_threshold ? f_set1(s.threshold[0]) : f_load(s.threshold + channel);
      const int left = channels - channel;
      inside = left >= L ? ~0u : left > 0 ? (1u << left) - 1 : 0;
    }
    const float* addend = s.add + t.pixel * s.add_stride + channel;
    float* stored = s.store + t.pixel * s.store_stride + channel;
    uint8_t* bytes = s.bits + t.pixel * s.bits_stride + channel / 8;
    for (int i = 0; i < count; ++i) {
      F y = y_of(i);
      if (affine) y = f_fma(y, f_load(s.scale + channel), f_load(s.shift + channel));
      if (add) y = f_add(y, f_load(addend)), addend += add_stride;
      if (slope) y = f_two_slope(y, positive, negative);
      if (clamp) y = f_min(f_max(y, f_load(s.low + channel)), f_load(s.high + channel));
      if (store) f_store(stored, y), stored += store_stride;
      if (bits) {
        const uint32_t mask = (flip ? f_le(y, threshold) : f_ge(y, threshold)) & inside;
        __builtin_memcpy(bytes, &mask, L / 8), bytes += bits_stride;
      }
      if (keep) f_store(t.y + i * t.stride + c, y);
    }
  }
  // Bytes of a pixel behind its last vector stay zero.
  const int end = t.channel + t.width;
  if (bits && end >= channels && end / 8 < s.bits_stride)
    for (int i = 0; i < t.count; ++i)
      zero_bytes(s.bits + (t.pixel + i) * s.bits_stride + end / 8, s.bits_stride - end / 8);
}

template <class Source, int flags = 0>
void dispatch_stage(const Stage& s, const Source& source, const Tile& t, int channels, bool last) {
  if constexpr (flags < Stage::kCompiled) {
    const bool plain = last && !s.flip && !(s.flags & (Stage::kAffine | Stage::kClamp));
    if ((s.flags & (Stage::kCompiled - 1)) != flags)
      dispatch_stage<Source, flags + 1>(s, source, t, channels, last);
    else if (plain)
      run_stage<flags, true>(s, source, t, channels, last);
    else
      run_stage<flags, false>(s, source, t, channels, last);
  }
}

template <class Source>
void run_epilogue(const Epilogue& e, const Source& source, const Tile& t) {
  dispatch_stage(e.stages[0], source, t, e.channels, e.count == 1);
  for (int k = 1; k < e.count; ++k) dispatch_stage(e.stages[k], FromTile{t}, t, e.channels, k + 1 == e.count);
}

void run_epilogue(const Epilogue& e, const Tile& t) { run_epilogue(e, FromTile{t}, t); }

}  // namespace
