// Float convolution: y = bias, then y = fma(w, x, y) for ky, kx, c ascending (docs/format.md, section 4). Lanes are
// output channels and every step is one fma, so all instruction sets give the same bits.

namespace {

using netsuke::FloatConvArgs;

// out[i][v * L + lane] for MR windows and V vectors.
template <int MR, int V>
void float_tile(const float* a, int64_t a_stride, const float* w, const float* bias, int64_t length, float* out,
                int64_t stride) {
  F acc[MR][V];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) acc[i][v] = f_load(bias + v * L);
  for (int64_t k = 0; k < length; ++k) {
    const float* wk = w + k * V * L;
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const F x = f_set1(a[i * a_stride + k]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[i][v] = f_fma(f_load(wk + v * L), x, acc[i][v]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) f_store(out + i * stride + v * L, acc[i][v]);
}

template <int MR, int V>
void float_block(const float* a, int64_t length, int count, const float* w, const float* bias, float* out,
                 int64_t stride) {
  int i = 0;
  for (; i < count && count - i > MR / 3; i += MR)
    float_tile<MR, V>(a + i * length, length, w, bias, length, out + i * stride, stride);
  for (; i < count; ++i) float_tile<1, V>(a + i * length, length, w, bias, length, out + i * stride, stride);
}

void float_blocks(const Block& b, const float* a, int64_t length, int count, const float* w, const float* bias,
                  float* out, int64_t stride) {
  if (b.vectors == 4)
    float_block<kFloatRows4, 4>(a, length, count, w + b.weight, bias, out, stride);
  else if (b.vectors == 2)
    float_block<kFloatRows2, 2>(a, length, count, w + b.weight, bias, out, stride);
  else
    float_block<kFloatRows1, 1>(a, length, count, w + b.weight, bias, out, stride);
}

void float_conv(const FloatConvArgs& x, int unit, const Scratch& scratch) {
  const Window& w = x.window;
  const int64_t taps = static_cast<int64_t>(w.kernel_h) * w.kernel_w, length = taps * x.group_channels;
  const float* windows = reinterpret_cast<const float*>(scratch.windows);
  const Share share = share_of(x.units, unit, x.groups == 1 ? x.block_count : 1);
  Gather g = {reinterpret_cast<const uint8_t*>(x.map), x.map_stride * 4, x.group_channels * int64_t{4},
              w.kernel_w * x.group_channels * int64_t{4}, length * 4};
  if (x.groups == 1) {
    gather(w, g, share.pixel, share.count, scratch.windows, nullptr);
    for (int b = share.first; b < share.end; ++b) {
      const Block& block = x.blocks[b];
      const int width = block.vectors * L;
      float_blocks(block, windows, length, share.count, x.weight, x.bias + block.channel, scratch.tile, width);
      run_epilogue(x.epilogue, Tile{scratch.tile, width, share.pixel, share.count, block.channel, width});
    }
    return;
  }
  // Groups: as in binary_conv.
  const int width = (x.groups * x.group_outputs + L - 1) / L * L;
  const int64_t stride = width + netsuke::kTileSlack;
  for (int group = 0; group < x.groups; ++group) {
    gather(w, g, share.pixel, share.count, scratch.windows, nullptr);
    for (int b = 0; b < x.block_count; ++b) {
      const Block& block = x.blocks[b];
      const int channel = group * x.group_outputs + block.channel;
      float_blocks(block, windows, length, share.count, x.weight + group * x.group_weights, x.bias + channel,
                   scratch.tile + channel, stride);
    }
    g.map += x.group_channels * int64_t{4};
  }
  run_epilogue(x.epilogue, Tile{scratch.tile, stride, share.pixel, share.count, 0, width});
}

}  // namespace
