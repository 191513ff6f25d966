// The end of a mean: what the epilogue summed row by row, rows ascending, divided by the number of pixels
// (docs/format.md, section 4).

namespace {

void mean(const netsuke::MeanArgs& x) {
  const int width = (x.channels + 15) / 16 * 16;
  const F pixels = f_set1(static_cast<float>(x.height * x.width));
  for (int c = 0; c < width; c += L) {
    F sum = f_set1(0);
    for (int y = 0; y < x.height; ++y) sum = f_add(sum, f_load(x.row_sums + static_cast<int64_t>(y) * width + c));
    f_store(x.mean + c, f_div(sum, pixels));
  }
}

}  // namespace
