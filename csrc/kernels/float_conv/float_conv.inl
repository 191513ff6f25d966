// Float convolution: y = bias, then y = fma(w, x, y) for ky, kx, c ascending (docs/format.md, section 4). Lanes are
// output channels and every step is one fma, so all instruction sets give the same bits.

namespace {

using netsuke::FloatConvArgs;

struct MultiplyFloats {
  using Acc = F;
  using Weight = F;
  using Word = F;
  static constexpr netsuke::TileRows kRows = kFloatTile;
  static constexpr int kSteps = netsuke::kNoLimit;
  const float* bias = nullptr;
  F begin(int v) const { return bias ? f_load(bias + v * L) : f_set1(0); }
  static F weight(const uint32_t* p) { return f_load(reinterpret_cast<const float*>(p)); }
  static F word(const uint8_t* p) { return f_set1(*reinterpret_cast<const float*>(p)); }
  static int mask(const uint32_t*) { return 0; }
  static F step(F acc, F w, F x, int) { return f_fma(w, x, acc); }
  static void store(F acc, float* out, bool) { f_store(out, acc); }
};

struct FloatFamily : FloatResult {
  static void block(const FloatConvArgs& x, const Walk& walk, const Block& b, int channel, int count,
                    const uint32_t* weight, const Scratch&, float* out, int64_t stride) {
    conv_block(MultiplyFloats{x.bias + channel}, walk, b, count, weight, out, stride);
  }
  static void describe(const FloatConvArgs&, const Walk&, const Rows&, const Scratch&) {}
  static FromTile source(const FloatConvArgs&, const Tile& t, const Scratch&) { return {t}; }
};

int64_t float_loop(int64_t rounds, float* memory) { return bare_loop<MultiplyFloats, 1>(rounds, memory); }

void float_conv(const FloatConvArgs& x, int unit, const Scratch& scratch) { run_conv<FloatFamily>(x, unit, scratch); }

}  // namespace
