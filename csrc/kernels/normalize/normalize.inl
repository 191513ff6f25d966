// normalize: a pixel divided by the root of the sum of its squares (docs/format.md, section 4). The sum ascends over the
// channels, so several pixels are summed side by side.

namespace {

using netsuke::NormalizeArgs;

constexpr int kPixelsAtOnce = 8;

// Sums of squares of N pixels, `step` bytes from one to the next.
template <int N>
inline void sum_squares(const uint8_t* pixel, int64_t step, int channels, float eps, float* out) {
  float sum[N];
  for (int i = 0; i < N; ++i) sum[i] = eps;
  for (int64_t c = 0; c < channels; ++c)
    for (int i = 0; i < N; ++i) {
      float x;
      __builtin_memcpy(&x, pixel + i * step + c * 4, sizeof x);
      sum[i] = __builtin_fmaf(x, x, sum[i]);
    }
  for (int i = 0; i < N; ++i) out[i] = __builtin_sqrtf(sum[i]);
}

// y straight from a map, divided by a number of each pixel.
struct FromQuotients {
  struct InRow {
    FromMap::InRow x;
    const float* divisor;
    F operator()(int i) const { return f_div(x(i), f_set1(divisor[i])); }
  };
  struct Channels {
    FromMap::Channels x;
    const float* divisor;
    InRow in(const Row& row) const { return {x.in(row), divisor}; }
  };
  FromMap x;
  const float* divisor;
  Channels at(int c) const { return {x.at(c), divisor}; }
};

void normalize(const NormalizeArgs& x, int unit, const Scratch& scratch) {
  const Share share = share_of(x.units, unit, 1);
  const Rows rows = {scratch.rows, rows_of(share, x.width, scratch.rows)};
  const int width = (x.channels + L - 1) / L * L;
  for (int r = 0; r < rows.count; ++r) {
    const Row& row = rows.row[r];
    const uint8_t* pixel = pixel_of(x.map, row, 0);
    float* root = scratch.sum + row.first;
    int i = 0;
    for (; i + kPixelsAtOnce <= row.count; i += kPixelsAtOnce)
      sum_squares<kPixelsAtOnce>(pixel + i * x.map.pixel, x.map.pixel, x.channels, x.eps, root + i);
    for (; i < row.count; ++i) sum_squares<1>(pixel + i * x.map.pixel, x.map.pixel, x.channels, x.eps, root + i);
  }
  run_epilogue(x.epilogue, FromQuotients{{x.map}, scratch.sum}, Tile{scratch.tile, width, rows, 0, width});
}

}  // namespace
