// Binary convolution: docs/format.md, section 4. With bit 1 for +1 and s_w * s_a = +1 where bits agree,
//
//   sum over the window of s_w * s_a = n1 - 2 * popcount(w XOR a)        n1 = taps of the whole window x C/g
//
// Taps outside the image hold a = 0, so they add -s_w each to the right side; D takes that back:
//
//   D = n1 + Sw(all) - Sw(p) - 2 * popcount(w XOR a) = base[border class] - 2 * popcount(w XOR a)
//
// |D| <= n1 <= 2^22, so D is exact as a float32, and so are its parts.

namespace {

using netsuke::BinaryConvArgs;

template <bool masked>
struct CountBits {
  using Acc = U;
  using Weight = B;
  using Word = B;
  static constexpr netsuke::TileRows kRows = kBinaryTile;
  static constexpr int kSteps = kCountSteps;
  static U begin(int) { return u_zero(); }
  static B weight(const uint32_t* p) { return b_of(u_load(p)); }
  static B word(const uint8_t* p) { return b_of(u_broadcast(p)); }
  static B mask(const uint32_t* p) { return b_of(masked ? u_set1(*p) : u_zero()); }
  static U step(U acc, B w, B a, B m) { return masked ? count_add_masked(acc, w, a, m) : count_add(acc, w, a); }
  static void store(U acc, float* out, bool first) {
    const U total = count_total(acc);
    u_store(out, first ? total : u_add(total, u_load(reinterpret_cast<const uint32_t*>(out))));
  }
};

// y = fma(A, D, K), then, if some beta_w is not 0, y = fma(B, Sa, y).
template <bool offset>
struct FromCounts {
  struct InRow {
    const float* counts;
    int64_t stride;
    const float* sum;  // by pixel: Sa
    F a, b, base, constant;
    F operator()(int i) const {
      const F count = f_from_i32(u_load(reinterpret_cast<const uint32_t*>(counts + i * stride)));
      const F y = f_fma(a, f_fma(f_set1(-2), count, base), constant);
      return offset ? f_fma(b, f_set1(sum[i]), y) : y;
    }
  };
  struct Channels {
    const FromCounts& source;
    int c;
    F a, b;
    InRow in(const Row& row) const {
      const BinaryConvArgs& x = source.x;
      const Tile& t = source.t;
      const int64_t at = x.border[row.y * x.conv.parts + row.part] + t.channel + c;
      return {t.y + c, t.stride, source.sum, a, b, f_load(x.base + at), f_load(x.constant + at)};
    }
  };
  const BinaryConvArgs& x;
  const Tile& t;
  const float* sum;
  Channels at(int c) const {
    const int channel = t.channel + c;
    return {*this, c, f_load(x.scale + channel), offset ? f_load(x.offset + channel) : f_set1(0)};
  }
};

inline int count_ones(const Walk& walk, const uint8_t* window) {
  int ones = 0;
  for (int k = 0; k < walk.words; ++k) {
    uint32_t word;
    __builtin_memcpy(&word, window + walk.word_at[k], 4);
    ones += __builtin_popcount(word & walk.word_mask[k]);
  }
  return ones;
}

// columns[j] = popcount of the kernel_h pixels below each other at column j, `count` columns. Word is what a pixel has.
template <class Word>
void count_columns(const uint8_t* at, int64_t down, int height, int words, int count, int32_t* columns) {
  for (int ky = 0; ky < height; ++ky, at += down)
    for (int k = 0; k < words; ++k) {
      const uint8_t* from = at + k * sizeof(Word);
      for (int j = 0; j < count; ++j) {
        Word bits;
        __builtin_memcpy(&bits, from + j * static_cast<int64_t>(words) * sizeof(Word), sizeof(Word));
        const int ones = sizeof(Word) == 8 ? __builtin_popcountll(bits) : __builtin_popcount(static_cast<uint32_t>(bits));
        columns[j] = ky + k == 0 ? ones : columns[j] + ones;
      }
    }
}

// Sa = 2 * popcount(window) - n of a row of pixels whose windows are read from the map: sums of columns.
void sum_row(const BinaryConvArgs& x, const Row& row, const Scratch& scratch) {
  const Conv& c = x.conv;
  const Window& w = c.window;
  const int count = (row.count - 1) * w.stride_w + w.kernel_w;
  const uint8_t* at = c.map.data + (int64_t{row.y} * w.stride_h - w.pad_top) * c.map.row +
                      (int64_t{row.x} * w.stride_w - w.pad_left) * c.map.pixel;
  const int64_t down = w.dilation_h * c.map.row;
  int32_t* columns = scratch.columns;
  if (c.tap_bytes == 2)
    count_columns<uint16_t>(at, down, w.kernel_h, 1, count, columns);
  else if (c.tap_bytes % 8)
    count_columns<uint32_t>(at, down, w.kernel_h, c.tap_bytes / 4, count, columns);
  else
    count_columns<uint64_t>(at, down, w.kernel_h, c.tap_bytes / 8, count, columns);
  const int32_t *column_inside = x.column_inside + row.x, row_inside = x.row_inside[row.y];
  float* sum = scratch.sum + row.first;
  if (w.kernel_w == 3 && w.stride_w == 1) {
    for (int i = 0; i < row.count; ++i)
      sum[i] = static_cast<float>(2 * (columns[i] + columns[i + 1] + columns[i + 2]) - row_inside * column_inside[i]);
    return;
  }
  for (int i = 0; i < row.count; ++i) {
    int ones = 0;
    for (int kx = 0; kx < w.kernel_w; ++kx) ones += columns[i * w.stride_w + kx];
    sum[i] = static_cast<float>(2 * ones - row_inside * column_inside[i]);
  }
}

template <bool offset, bool masked>
struct BinaryFamily {
  static void block(const BinaryConvArgs&, const Walk& walk, const Block& b, int, int count, const uint32_t* weight,
                    const Scratch&, float* out, int64_t stride) {
    conv_block(CountBits<masked>{}, walk, b, count, weight, out, stride);
  }

  // Sa of every pixel, where it is needed.
  static void describe(const BinaryConvArgs& x, const Walk& walk, const Rows& rows, const Scratch& scratch) {
    const Conv& c = x.conv;
    if (!offset) return;
    for (int r = 0; r < rows.count; ++r) {
      Row row = rows.row[r];
      for (; r + 1 < rows.count && rows.row[r + 1].y == row.y; ++r) row.count += rows.row[r + 1].count;  // the whole row
      if (!c.gathered && c.groups == 1 && c.segment_taps == c.window.kernel_w) {
        sum_row(x, row, scratch);
        continue;
      }
      for (int i = 0; i < row.count; ++i) {
        const int ones = count_ones(walk, walk.map + walk.at[row.first + i]);
        scratch.sum[row.first + i] = static_cast<float>(2 * ones - x.row_inside[row.y] * x.column_inside[row.x + i]);
      }
    }
  }

  static FromCounts<offset> source(const BinaryConvArgs& x, const Tile& t, const Scratch& scratch) {
    return {x, t, scratch.sum};
  }
};

int64_t binary_loop(int64_t rounds, float* memory) { return bare_loop<CountBits<false>, 32>(rounds, memory); }

void binary_conv(const BinaryConvArgs& x, int unit, const Scratch& scratch) {
  const bool masked = x.conv.masked;
  if (x.offset)
    masked ? run_conv<BinaryFamily<true, true>>(x, unit, scratch) : run_conv<BinaryFamily<true, false>>(x, unit, scratch);
  else
    masked ? run_conv<BinaryFamily<false, true>>(x, unit, scratch) : run_conv<BinaryFamily<false, false>>(x, unit, scratch);
}

}  // namespace
