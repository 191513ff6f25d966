// One image, planes of uint8 or float32, to the network's input map: pixels of float32, or, where the network reads its
// input only as codes, those (docs/format.md, section 4: transform, quantize).

namespace {

using netsuke::TransformArgs;

constexpr int kBlock = 64;  // pixels of one plane at a time

inline void quantize_block(const TransformArgs& x, const float* from, uint8_t* to) {
  const F multiplier = f_set1(x.multiplier), zero = f_set1(x.zero);
  for (int i = 0; i < kBlock; i += L) {
    const F q = f_fma(f_load(from + i), multiplier, zero);
    f_store_codes(to + i, f_min(f_max(q, f_set1(0)), f_set1(x.most)), L);
  }
}

// What a block of plane c becomes. `ok` is false once a number was not finite.
struct FloatPlanes {
  const TransformArgs& x;
  const float* planes;
  bool ok = true;

  const float* at(int c, int64_t i) const { return planes + int64_t{c} * x.height * x.width + i; }
  void read(int c, int64_t i, int n, float* to) {
    __builtin_memcpy(to, at(c, i), static_cast<size_t>(n) * 4);
    uint32_t largest = 0;  // by the exponent bits, which a compiler can look at in vectors
    for (int k = 0; k < n; ++k) {
      uint32_t bits;
      __builtin_memcpy(&bits, to + k, 4);
      bits &= 0x7fffffffu;
      largest = bits > largest ? bits : largest;
    }
    ok = ok && largest < 0x7f800000u;
  }
  void read(int c, int64_t i, int n, uint8_t* to) {
    float numbers[kBlock] = {};
    read(c, i, n, numbers);
    quantize_block(x, numbers, to);
  }
};

// A byte has 256 values: what each becomes is worked out once for a channel, then looked up.
struct BytePlanes {
  const TransformArgs& x;
  const uint8_t* planes;
  int channel = -1;
  float floats[256];
  uint8_t codes[256];

  void read(int c, int64_t i, int n, float* to) {
    prepare(c);
    const uint8_t* from = at(c, i);
    for (int k = 0; k < n; ++k) to[k] = floats[from[k]];
  }
  void read(int c, int64_t i, int n, uint8_t* to) {
    prepare(c);
    const uint8_t* from = at(c, i);
    for (int k = 0; k < n; ++k) to[k] = codes[from[k]];
  }
  const uint8_t* at(int c, int64_t i) const {
    return planes + int64_t{x.reverse ? x.channels - 1 - c : c} * x.height * x.width + i;
  }
  void prepare(int c) {
    if (c == channel) return;
    channel = c;
    for (int u = 0; u < 256; ++u) floats[u] = static_cast<float>(u);
    const F scale = f_set1(x.scale[c]), shift = f_set1(x.shift[c]);
    for (int u = 0; u < 256; u += L) f_store(floats + u, f_fma(f_load(floats + u), scale, shift));
    for (int u = 0; u < 256; u += kBlock) quantize_block(x, floats + u, codes + u);
  }
};

template <class Out, class Planes>
void spread(const TransformArgs& x, Planes& planes) {
  for (int c = 0; c < x.channels; ++c)
    for (int y = 0; y < x.height; ++y)
      for (int begin = 0; begin < x.width; begin += kBlock) {
        const int n = x.width - begin < kBlock ? x.width - begin : kBlock;
        Out block[kBlock];
        planes.read(c, int64_t{y} * x.width + begin, n, block);
        Out* out = reinterpret_cast<Out*>(x.map.data + y * x.map.row) + int64_t{begin} * x.channels + c;
        for (int i = 0; i < n; ++i) out[int64_t{i} * x.channels] = block[i];
      }
}

template <class Planes>
void transform(const TransformArgs& x, Planes& planes) {
  x.codes ? spread<uint8_t>(x, planes) : spread<float>(x, planes);
}

void transform_u8(const TransformArgs& x, const uint8_t* planes) {
  BytePlanes bytes = {x, planes, -1, {}, {}};
  transform(x, bytes);
}

bool transform_f32(const TransformArgs& x, const float* planes) {
  FloatPlanes floats = {x, planes};
  transform(x, floats);
  return floats.ok;
}

}  // namespace
