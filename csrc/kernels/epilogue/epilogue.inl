// The epilogue over a tile of the result: pixels [pixel, pixel + count), channels [channel, channel + width), width a
// multiple of L. tile[i * stride + c] is y of pixel i and channel (channel + c). Each step runs over the whole
// tile, which stays in the first cache.

namespace {

using netsuke::Epilogue;
using netsuke::EpilogueStep;
using netsuke::StepKind;

struct Tile {
  float* y;
  int64_t stride;
  int pixel, count, channel, width;
};

// Applies y = op(y, a[c], b[c]) to the tile.
template <class Op>
inline void each(const Tile& t, const float* a, const float* b, Op op) {
  for (int c = 0; c < t.width; c += L) {
    const F va = f_load(a + t.channel + c), vb = f_load(b + t.channel + c);
    float* y = t.y + c;
    for (int i = 0; i < t.count; ++i, y += t.stride) f_store(y, op(f_load(y), va, vb));
  }
}

void add_step(const EpilogueStep& s, const Tile& t) {
  for (int i = 0; i < t.count; ++i) {
    float* y = t.y + i * t.stride;
    const float* v = s.map + (t.pixel + i) * s.map_stride + t.channel;
    for (int c = 0; c < t.width; c += L) f_store(y + c, f_add(f_load(y + c), f_load(v + c)));
  }
}

void store_step(const EpilogueStep& s, const Tile& t) {
  for (int i = 0; i < t.count; ++i) {
    const float* y = t.y + i * t.stride;
    float* v = s.map + (t.pixel + i) * s.map_stride + t.channel;
    for (int c = 0; c < t.width; c += L) f_store(v + c, f_load(y + c));
  }
}

// L >= 8, so a vector's bits are whole bytes. The tile that holds the last channel also clears the pixel's last bytes.
template <bool flip>
void binarize_step(const EpilogueStep& s, const Tile& t, int channels) {
  const F one = f_set1(s.a[0]);
  const int end = t.channel + t.width >= channels ? static_cast<int>(s.bits_stride) * 8 : t.channel + t.width;
  for (int i = 0; i < t.count; ++i) {
    const float* y = t.y + i * t.stride;
    uint8_t* bits = s.bits + (t.pixel + i) * s.bits_stride;
    for (int c = t.channel; c < end; c += L) {
      uint32_t mask = 0;
      if (c < channels) {
        const F threshold = s.one_threshold ? one : f_load(s.a + c);
        const F v = f_load(y + (c - t.channel));
        mask = flip ? f_le(v, threshold) : f_ge(v, threshold);
        if (channels - c < L) mask &= (1u << (channels - c)) - 1;
      }
      const int bytes = end - c < L ? (end - c) / 8 : L / 8;
      for (int b = 0; b < bytes; ++b) bits[c / 8 + b] = static_cast<uint8_t>(mask >> (8 * b));
    }
  }
}

void run_epilogue(const Epilogue& e, const Tile& t) {
  for (int k = 0; k < e.count; ++k) {
    const EpilogueStep& s = e.steps[k];
    switch (s.kind) {
      case StepKind::affine:
        each(t, s.a, s.b, [](F y, F a, F b) { return f_fma(y, a, b); });
        break;
      case StepKind::two_slope:
        each(t, s.a, s.b, [](F y, F a, F b) { return f_two_slope(y, a, b); });
        break;
      case StepKind::clamp:
        each(t, s.a, s.b, [](F y, F a, F b) { return f_min(f_max(y, a), b); });
        break;
      case StepKind::add:
        add_step(s, t);
        break;
      case StepKind::store:
        store_step(s, t);
        break;
      case StepKind::binarize:
        s.flip ? binarize_step<true>(s, t, e.channels) : binarize_step<false>(s, t, e.channels);
        break;
    }
  }
}

}  // namespace
