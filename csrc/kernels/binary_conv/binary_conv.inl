// Binary convolution: docs/format.md, section 4. With bit 1 for +1 and s_w * s_a = +1 where bits agree,
//
//   sum over the window of s_w * s_a = n1 - 2 * popcount(w XOR a)        n1 = taps of the whole window x C/g
//
// Taps outside the image hold a = 0, so they add -s_w each to the right side; D takes that back:
//
//   D = n1 + Sw(all) - Sw(p) - 2 * popcount(w XOR a) = base[border class] - 2 * popcount(w XOR a)
//
// |D| <= n1 <= 2^22, so D is exact as a float32.

namespace {

using netsuke::BinaryConvArgs;
using netsuke::Block;

// counts[i][v * L + lane] = popcount over k of (a[i][k] XOR w[k][v * L + lane]), for MR windows and V vectors.
// A count_add may hold only kCountSteps steps before its lanes must be widened by count_total.
template <int MR, int V>
void binary_tile(const uint32_t* a, int64_t a_stride, const uint32_t* w, int words, int32_t* counts, int64_t stride) {
  for (int begin = 0; begin < words; begin += kCountSteps) {
    const int end = words - begin < kCountSteps ? words : begin + kCountSteps;
    U acc[MR][V];
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[i][v] = u_zero();
    for (int k = begin; k < end; ++k) {
      const uint32_t* wk = w + static_cast<int64_t>(k) * V * L;
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i) {
        const U bits = u_set1(a[i * a_stride + k]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) acc[i][v] = count_add(acc[i][v], u_xor(u_load(wk + v * L), bits));
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        int32_t* to = counts + i * stride + v * L;
        U total = count_total(acc[i][v]);
        if (begin > 0) total = u_add(total, u_load(reinterpret_cast<const uint32_t*>(to)));
        u_store(to, total);
      }
  }
}

// Counts of `count` windows against one block. The scratch has room for whole tiles past `count`.
template <int MR, int V>
void binary_block(const uint32_t* a, int64_t a_stride, int count, const uint32_t* w, int words, int32_t* counts,
                  int64_t stride) {
  int i = 0;
  for (; i < count && count - i > MR / 3; i += MR)
    binary_tile<MR, V>(a + i * a_stride, a_stride, w, words, counts + i * stride, stride);
  for (; i < count; ++i) binary_tile<1, V>(a + i * a_stride, a_stride, w, words, counts + i * stride, stride);
}

void binary_blocks(const Block& b, const uint32_t* a, int64_t a_stride, int count, const uint32_t* w, int words,
                   int32_t* counts, int64_t stride) {
  if (b.vectors == 4)
    binary_block<kBinaryRows4, 4>(a, a_stride, count, w + b.weight, words, counts, stride);
  else if (b.vectors == 2)
    binary_block<kBinaryRows2, 2>(a, a_stride, count, w + b.weight, words, counts, stride);
  else
    binary_block<kBinaryRows1, 1>(a, a_stride, count, w + b.weight, words, counts, stride);
}

// Where a stage takes y from counts: y = fma(A, D, K), then, if some beta_w is not 0, y = fma(B, Sa, y).
template <bool offset>
struct FromCounts {
  struct Channels {
    const float* counts;
    int64_t stride;
    const int32_t* base;
    const float* constant;
    const int32_t* border;  // by pixel: where its border class begins in the tables
    const float* sum;       // by pixel: Sa
    F a, b;
    F operator()(int i) const {
      const U count = u_load(reinterpret_cast<const uint32_t*>(counts + i * stride));
      const F d = f_from_i32(u_sub(u_load(reinterpret_cast<const uint32_t*>(base + border[i])), u_add(count, count)));
      const F y = f_fma(a, d, f_load(constant + border[i]));
      return offset ? f_fma(b, f_set1(sum[i]), y) : y;
    }
  };
  const BinaryConvArgs& x;
  const Tile& t;
  const Scratch& scratch;
  Channels at(int c) const {
    const int channel = t.channel + c;
    return {t.y + c, t.stride, x.base + channel, x.constant + channel, scratch.border, scratch.sum,
            f_load(x.scale + channel), offset ? f_load(x.offset + channel) : f_set1(0)};
  }
};

// Border class and Sa = 2 * popcount(window) - n of every pixel of the chunk, a row of the result at a time.
void describe_pixels(const BinaryConvArgs& x, int pixel, int count, const Scratch& scratch) {
  int32_t* border = scratch.border;
  const int32_t* ones = scratch.ones;
  float* sum = scratch.sum;
  int row = pixel / x.window.out_w, column = pixel % x.window.out_w;
  while (count > 0) {
    const int n = x.window.out_w - column < count ? x.window.out_w - column : count;
    const int32_t row_border = x.row_border[row], row_inside = x.row_inside[row];
    const int32_t *column_border = x.column_border + column, *column_inside = x.column_inside + column;
    for (int i = 0; i < n; ++i) border[i] = row_border + column_border[i];
    if (x.offset)
      for (int i = 0; i < n; ++i) sum[i] = static_cast<float>(2 * ones[i] - row_inside * column_inside[i]);
    border += n, ones += n, sum += n, count -= n;
    column = 0, ++row;
  }
}

// Windows of one group that does not begin at a byte or does not end where its tap does: bit by bit in bytes.
void gather_bits(const BinaryConvArgs& x, int group, int pixel, int count, uint8_t* out, int32_t* ones) {
  const Window& w = x.window;
  const int64_t from = static_cast<int64_t>(group) * x.group_channels;
  for (int i = 0; i < count; ++i, out += x.words * 4) {
    zero_bytes(out, x.words * 4);
    const int y = (pixel + i) / w.out_w * w.stride_h - w.pad_top, px = (pixel + i) % w.out_w * w.stride_w - w.pad_left;
    for (int ky = 0; ky < w.kernel_h; ++ky)
      for (int kx = 0; kx < w.kernel_w; ++kx) {
        const int iy = y + ky * w.dilation_h, ix = px + kx * w.dilation_w;
        if (iy < 0 || iy >= w.in_h || ix < 0 || ix >= w.in_w) continue;
        const uint8_t* bits = x.bits + (static_cast<int64_t>(iy) * w.in_w + ix) * x.bits_stride;
        uint8_t* tap = out + ky * x.row_words * 4 + kx * x.tap_bytes;
        for (int c = 0; c < x.group_channels; c += 8) {
          const int64_t at = from + c;
          // The byte after the last may belong to the next pixel; the mask takes its bits out.
          uint32_t eight = (bits[at / 8] | bits[at / 8 + 1] << 8) >> (at % 8);
          const int left = x.group_channels - c;
          tap[c / 8] = static_cast<uint8_t>(left < 8 ? eight & ((1u << left) - 1) : eight);
        }
      }
    if (ones) ones[i] = count_ones(out, x.words * int64_t{4});
  }
}

// One chunk. Without groups, each block of channels goes through the epilogue while it is in the first cache.
template <bool offset>
void binary_chunk(const BinaryConvArgs& x, const Share& share, const Scratch& scratch) {
  const uint32_t* windows = reinterpret_cast<const uint32_t*>(scratch.windows);
  int32_t* counts = reinterpret_cast<int32_t*>(scratch.tile);
  int32_t* ones = offset ? scratch.ones : nullptr;
  if (x.groups == 1) {
    const Gather g = {x.bits, x.bits_stride, x.tap_bytes, x.row_words * 4, x.words * 4};
    gather(x.window, g, share.pixel, share.count, scratch.windows, ones);
    describe_pixels(x, share.pixel, share.count, scratch);
    for (int b = share.first; b < share.end; ++b) {
      const Block& block = x.blocks[b];
      const int width = block.vectors * L;
      binary_blocks(block, windows, x.words, share.count, x.weight, x.words, counts, width);
      const Tile tile = {scratch.tile, width, share.pixel, share.count, block.channel, width};
      run_epilogue(x.epilogue, FromCounts<offset>{x, tile, scratch}, tile);
    }
    return;
  }
  // Groups: each writes its channels of a tile of all channels; what it writes past them, the next one overwrites.
  // Sa differs from group to group, so each group is made float before the next begins.
  const int width = (x.groups * x.group_outputs + L - 1) / L * L;
  const int64_t stride = width + netsuke::kTileSlack;
  for (int g = 0; g < x.groups; ++g) {
    gather_bits(x, g, share.pixel, share.count, scratch.windows, ones);
    describe_pixels(x, share.pixel, share.count, scratch);
    for (int b = 0; b < x.block_count; ++b) {
      const Block& block = x.blocks[b];
      const int channel = g * x.group_outputs + block.channel;
      binary_blocks(block, windows, x.words, share.count, x.weight + g * x.group_weights, x.words, counts + channel,
                    stride);
      const Tile tile = {scratch.tile + channel, stride, share.pixel, share.count, channel, block.vectors * L};
      run_stage<0, false>(Stage{}, FromCounts<offset>{x, tile, scratch}, tile, 0, false);
    }
  }
  run_epilogue(x.epilogue, Tile{scratch.tile, stride, share.pixel, share.count, 0, width});
}

void binary_conv(const BinaryConvArgs& x, int unit, const Scratch& scratch) {
  const Share share = share_of(x.units, unit, x.groups == 1 ? x.block_count : 1);
  x.offset ? binary_chunk<true>(x, share, scratch) : binary_chunk<false>(x, share, scratch);
}

}  // namespace
