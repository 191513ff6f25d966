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

// ones[j] = popcount of pixel j of `count` that lie side by side, each `words` times a Word.
template <class Word>
void count_pixels(const uint8_t* at, int words, int64_t count, int32_t* ones) {
  for (int k = 0; k < words; ++k) {
    const uint8_t* from = at + k * sizeof(Word);
    for (int64_t j = 0; j < count; ++j) {
      Word bits;
      __builtin_memcpy(&bits, from + j * static_cast<int64_t>(words) * sizeof(Word), sizeof(Word));
      const int n = sizeof(Word) == 8 ? __builtin_popcountll(bits) : __builtin_popcount(static_cast<uint32_t>(bits));
      ones[j] = k == 0 ? n : ones[j] + n;
    }
  }
}

// Sa of the pixels of a chunk whose windows are read from the map: popcounts of its pixels, halo included, added up along
// the columns of the windows, then along their rows.
void sum_windows(const BinaryConvArgs& x, const Rows& rows, const Scratch& scratch) {
  const Conv& c = x.conv;
  const Window& w = c.window;
  const int first = rows.row[0].y, height = rows.row[rows.count - 1].y - first + 1;
  const int64_t pitch = c.map.row / c.map.pixel, across = int64_t{w.out_w - 1} * w.stride_w + w.kernel_w;
  const uint8_t* at = c.map.data + (int64_t{first} * w.stride_h - w.pad_top) * c.map.row - w.pad_left * c.map.pixel;
  const int64_t pixels = (int64_t{height - 1} * w.stride_h + w.kernel_h - 1) * pitch + across;
  int32_t *ones = scratch.columns, *columns = ones + pixels;
  if (c.tap_bytes == 2)
    count_pixels<uint16_t>(at, 1, pixels, ones);
  else if (c.tap_bytes % 8)
    count_pixels<uint32_t>(at, c.tap_bytes / 4, pixels, ones);
  else
    count_pixels<uint64_t>(at, c.tap_bytes / 8, pixels, ones);
  if (w.kernel_h == 3 && w.stride_h == 1) {  // all rows at once
    for (int64_t j = 0; j < pixels - 2 * pitch; ++j) columns[j] = ones[j] + ones[j + pitch] + ones[j + 2 * pitch];
  } else {
    for (int y = 0; y < height; ++y)
      for (int ky = 0; ky < w.kernel_h; ++ky) {
        const int32_t* from = ones + (int64_t{y} * w.stride_h + ky) * pitch;
        for (int64_t j = 0; j < across; ++j) columns[y * pitch + j] = ky == 0 ? from[j] : columns[y * pitch + j] + from[j];
      }
  }
  for (int r = 0; r < rows.count; ++r) {
    const Row& row = rows.row[r];
    const int32_t* from = columns + (row.y - first) * pitch + row.x * w.stride_w;
    const int32_t inside = x.row_inside[row.y] * x.column_inside[row.x];  // one border class, one number of taps
    float* sum = scratch.sum + row.first;
    if (w.kernel_w == 3 && w.stride_w == 1) {
      for (int i = 0; i < row.count; ++i) sum[i] = static_cast<float>(2 * (from[i] + from[i + 1] + from[i + 2]) - inside);
      continue;
    }
    for (int i = 0; i < row.count; ++i) {
      int n = 0;
      for (int kx = 0; kx < w.kernel_w; ++kx) n += from[i * w.stride_w + kx];
      sum[i] = static_cast<float>(2 * n - inside);
    }
  }
}

template <bool offset, bool masked>
struct BinaryFamily : FloatResult {
  static void block(const BinaryConvArgs&, const Walk& walk, const Block& b, int, int count, const uint32_t* weight,
                    const Scratch&, float* out, int64_t stride) {
    conv_block(CountBits<masked>{}, walk, b, count, weight, out, stride);
  }

  // Sa of every pixel, where it is needed.
  static void describe(const BinaryConvArgs& x, const Walk& walk, const Rows& rows, const Scratch& scratch) {
    if (!offset) return;
    if (x.by_columns) return sum_windows(x, rows, scratch);
    for (int r = 0; r < rows.count; ++r) {
      const Row& row = rows.row[r];
      for (int i = 0; i < row.count; ++i) {
        const int ones = count_ones(walk, walk.map + walk.at[row.first + i]);
        scratch.sum[row.first + i] = static_cast<float>(2 * ones - x.row_inside[row.y] * x.column_inside[row.x]);
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
