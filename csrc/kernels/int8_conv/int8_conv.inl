// 8-bit convolution: docs/format.md, section 4. S = sum of w * (q - z) = base + sum of w * (q - kCodeOffset), where a tap
// outside the image holds q = z; base = (kCodeOffset - z) * (sum of all w) is one number a channel.

namespace {

using netsuke::Int8ConvArgs;

struct MultiplyCodes {
  using Acc = D;
  using Weight = C;
  using Word = Q;
  static constexpr netsuke::TileRows kRows = kInt8Tile;
  static constexpr int kSteps = netsuke::kNoLimit;
  static D begin(int) { return d_zero(); }
  static C weight(const uint32_t* p) { return c_load(p); }
  static Q word(const uint8_t* p) { return q_broadcast(p); }
  static int mask(const uint32_t*) { return 0; }
  static D step(D acc, C w, Q q, int) { return d_dot(acc, w, q); }
  static void store(D acc, float* out, bool) { u_store(out, d_total(acc)); }
};

struct FromDots {
  struct Channels {
    const float* dots;
    int64_t stride;
    U base;
    F a, bias;
    const Channels& in(const Row&) const { return *this; }
    F operator()(int i) const {
      const U s = u_add(u_load(reinterpret_cast<const uint32_t*>(dots + i * stride)), base);
      return f_fma(a, f_from_i32(s), bias);
    }
  };
  const Int8ConvArgs& x;
  const Tile& t;
  Channels at(int c) const {
    const int channel = t.channel + c;
    return {t.y + c, t.stride, u_load(reinterpret_cast<const uint32_t*>(x.base + channel)), f_load(x.scale + channel),
            f_load(x.bias + channel)};
  }
};

struct Int8Family : FloatResult {
  static void block(const Int8ConvArgs&, const Walk& walk, const Block& b, int, int count, const uint32_t* weight,
                    const Scratch&, float* out, int64_t stride) {
    conv_block(MultiplyCodes{}, walk, b, count, weight, out, stride);
  }
  static void describe(const Int8ConvArgs&, const Walk&, const Rows&, const Scratch&) {}
  static FromDots source(const Int8ConvArgs& x, const Tile& t, const Scratch&) { return {x, t}; }
};

int64_t int8_loop(int64_t rounds, float* memory) { return bare_loop<MultiplyCodes, 4>(rounds, memory); }

}  // namespace

#ifdef NETSUKE_TILES
#include "kernels/int8_conv/tiled.inl"
#endif

namespace {

// S itself, with the bias.
struct IntegersFromDots {
  struct Channels {
    const float* dots;
    int64_t stride;
    U base;
    U operator()(int i) const { return u_add(u_load(reinterpret_cast<const uint32_t*>(dots + i * stride)), base); }
  };
  const Int8ConvArgs& x;
  const Tile& t;
  Channels at(int c) const { return {t.y + c, t.stride, u_of(x.base + t.channel + c)}; }
};

template <class Family>
struct FixedFamily : Family {
  static IntegersFromDots source(const Int8ConvArgs& x, const Tile& t, const Scratch&) { return {x, t}; }
  static const FixedEpilogue& epilogue(const Int8ConvArgs& x) { return x.integers; }
  static void settle(const IntegersFromDots& source, const Tile& t) { make_integers(source, t); }
};

template <class Family>
void run_int8(const Int8ConvArgs& x, int unit, const Scratch& scratch) {
  if (x.fixed)
    run_conv<FixedFamily<Family>>(x, unit, scratch);
  else
    run_conv<Family>(x, unit, scratch);
}

// Where there is no dot product of bytes: sums of two products fit 16 bits if the weights are as small as in ternary and
// 4-bit layers.
#ifdef NETSUKE_NARROW
struct MultiplyNarrow {
  using Acc = D;
  using Weight = U;
  using Word = U;
  static constexpr netsuke::TileRows kRows = kNarrowTile;
  static constexpr int kSteps = netsuke::kNoLimit;
  static D begin(int) { return d_zero(); }
  static U weight(const uint32_t* p) { return u_load(p); }
  static U word(const uint8_t* p) { return u_broadcast(p); }
  static int mask(const uint32_t*) { return 0; }
  static D step(D acc, U w, U q, int) { return n_dot(acc, w, q); }
  static void store(D acc, float* out, bool) { u_store(out, d_total(acc)); }
};

struct NarrowInt8Family : Int8Family {
  static void block(const Int8ConvArgs&, const Walk& walk, const Block& b, int, int count, const uint32_t* weight,
                    const Scratch&, float* out, int64_t stride) {
    conv_block(MultiplyNarrow{}, walk, b, count, weight, out, stride);
  }
};
#else
constexpr int kNarrow = 0;
#endif

#ifdef NETSUKE_TILES
constexpr bool kHasTiles = true;
#else
constexpr bool kHasTiles = false;
#endif

void int8_conv(const Int8ConvArgs& x, int unit, const Scratch& scratch) {
#ifdef NETSUKE_TILES
  if (x.tiled) {
    shape_tiles(x.conv);
    run_int8<TiledInt8Family>(x, unit, scratch);
    tiles_end();
    return;
  }
#endif
#ifdef NETSUKE_NARROW
  if (x.narrow) return run_int8<NarrowInt8Family>(x, unit, scratch);
#endif
  run_int8<Int8Family>(x, unit, scratch);
}

}  // namespace
