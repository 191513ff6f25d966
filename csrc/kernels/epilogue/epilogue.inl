// The epilogue over a tile of the result: rows of pixels, channels [channel, channel + width), width a multiple of L. A
// stage is a run of steps that fits into registers: for every vector of channels its parameters are loaded once, then
// every pixel of the tile goes through the whole stage. The steps most networks have are compile-time flags of the
// stage; the others are branches that always go the same way.

namespace {

using netsuke::Epilogue;
using netsuke::Stage;

struct Rows {
  const Row* row;
  int count;
};

struct Tile {
  float* y;  // y[i * stride + c] is pixel i, channel (channel + c)
  int64_t stride;
  Rows rows;
  int channel, width;
};

// Where a stage takes y from when no sums have to be made float first: the tile itself.
struct FromTile {
  struct Channels {
    const float* y;
    int64_t stride;
    const Channels& in(const Row&) const { return *this; }
    F operator()(int i) const { return f_load(y + i * stride); }
  };
  Tile t;
  Channels at(int c) const { return {t.y + c, t.stride}; }
};

inline uint8_t* pixel_of(const Map& map, const Row& row, int64_t channel_bytes) {
  return map.data + row.y * map.row + row.x * map.pixel + channel_bytes;
}

// A plain stage has none of the other steps, does not flip its bits, and is the last one: the inner loop is then
// short enough for the general registers.
template <int flags, bool plain, class Source>
void run_stage(const Stage& s, const Source& source, const Tile& t, int channels, bool last) {
  constexpr bool add = flags & Stage::kAdd, slope = flags & Stage::kTwoSlope, store = flags & Stage::kStore,
                 bits = flags & Stage::kBinarize;
  const bool affine = !plain && (s.flags & Stage::kAffine), clamp = !plain && (s.flags & Stage::kClamp);
  const bool codes = !plain && (s.flags & Stage::kQuantize), flip = !plain && s.flip, keep = !plain && !last;
  const bool gate = !plain && (s.flags & Stage::kGate), multiply = !plain && (s.flags & Stage::kMultiply);
  const bool mean = !plain && (s.flags & Stage::kMean);
  const int64_t sums_of_row = (channels + 15) / 16 * 16;
  for (int c = 0; c < t.width; c += L) {
    const int channel = t.channel + c, left = channels - channel;
    const auto channels_of = source.at(c);
    const F positive = slope ? f_load(s.positive + channel) : f_set1(0), negative = slope ? f_load(s.negative + channel) : f_set1(0);
    F threshold = f_set1(0);
    uint32_t inside = ~0u;  // lanes that are channels
    if (bits) {
      threshold = s.one_threshold ? f_set1(s.threshold[0]) : f_load(s.threshold + channel);
      inside = left >= L ? ~0u : left > 0 ? (1u << left) - 1 : 0;
    }
    for (int r = 0; r < t.rows.count; ++r) {
      const Row& row = t.rows.row[r];
      const auto& y_of = channels_of.in(row);
      const uint8_t* addend = add ? pixel_of(s.add, row, channel * 4) : nullptr;
      uint8_t* stored = store ? pixel_of(s.store, row, channel * 4) : nullptr;
      uint8_t* bytes = bits ? pixel_of(s.bits, row, channel / 8) : nullptr;
      const uint8_t* factor = multiply ? pixel_of(s.multiply, row, channel * 4) : nullptr;
      float* sum_at = mean ? s.row_sums + row.y * sums_of_row + channel : nullptr;
      F sum = mean && row.x > 0 ? f_load(sum_at) : f_set1(0);
      uint8_t* code = codes ? pixel_of(s.codes, row, channel) : nullptr;
      // Copies: what the loop writes might be the stage itself, for all the compiler knows.
      const int64_t add_step = s.add.pixel, store_step = s.store.pixel, bits_step = s.bits.pixel;
      const int end = row.first + row.count;
      for (int i = row.first; i < end; ++i) {
        F y = y_of(i);
        if (gate) y = f_mul(y, f_load(s.gate + channel));
        if (multiply) y = f_mul(y, f_load(reinterpret_cast<const float*>(factor))), factor += s.multiply.pixel;
        if (affine) y = f_fma(y, f_load(s.scale + channel), f_load(s.shift + channel));
        if (add) y = f_add(y, f_load(reinterpret_cast<const float*>(addend))), addend += add_step;
        if (slope) y = f_two_slope(y, positive, negative);
        if (clamp) y = f_min(f_max(y, f_load(s.low + channel)), f_load(s.high + channel));
        if (store) f_store(reinterpret_cast<float*>(stored), y), stored += store_step;
        if (mean) sum = f_add(sum, y);
        if (bits) {
          const uint32_t mask = (flip ? f_le(y, threshold) : f_ge(y, threshold)) & inside;
          __builtin_memcpy(bytes, &mask, L / 8), bytes += bits_step;
        }
        if (codes) {
          const F q = f_fma(y, f_set1(s.multiplier), f_set1(s.zero));
          f_store_codes(code, f_min(f_max(q, f_set1(0)), f_set1(255)), left < L ? left : L), code += s.codes.pixel;
        }
        if (keep) f_store(t.y + i * t.stride + c, y);
      }
      if (mean) f_store(sum_at, sum);
    }
  }
}

template <class Source, int flags = 0>
void dispatch_stage(const Stage& s, const Source& source, const Tile& t, int channels, bool last) {
  if constexpr (flags < Stage::kCompiled) {
    const bool plain = last && !s.flip && s.flags < Stage::kCompiled;
    if ((s.flags & (Stage::kCompiled - 1)) != flags)
      dispatch_stage<Source, flags + 1>(s, source, t, channels, last);
    else if (plain)
      run_stage<flags, true>(s, source, t, channels, last);
    else
      run_stage<flags, false>(s, source, t, channels, last);
  }
}

inline void run_sigmoid(const Tile& t) {
  const Row& last = t.rows.row[t.rows.count - 1];
  for (int i = 0; i < last.first + last.count; ++i)
    for (int c = 0; c < t.width; c += L) {
      float* y = t.y + i * t.stride + c;
      f_store(y, f_sigmoid(f_load(y)));
    }
}

template <class Source>
void run_epilogue(const Epilogue& e, const Source& source, const Tile& t) {
  dispatch_stage(e.stages[0], source, t, e.channels, e.count == 1);
  for (int k = 1; k < e.count; ++k) {
    if (e.stages[k].flags & Stage::kSigmoid)
      run_sigmoid(t);
    else
      dispatch_stage(e.stages[k], FromTile{t}, t, e.channels, k + 1 == e.count);
  }
}

void run_epilogue(const Epilogue& e, const Tile& t) { run_epilogue(e, FromTile{t}, t); }

// y in place of the sums a tile holds.
template <class Source>
void make_float(const Source& source, const Tile& t) {
  run_stage<0, false>(Stage{}, source, t, 0, false);
}

}  // namespace
