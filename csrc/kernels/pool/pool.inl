// Max and average pooling over the taps inside the image, ky, kx ascending (docs/format.md, section 4).

namespace {

using netsuke::PoolArgs;

void pool(const PoolArgs& x, int unit, const Scratch& scratch) {
  const Window& w = x.window;
  const Share share = share_of(x.units, unit, 1);
  const Rows rows = {scratch.rows, rows_of(share, w.out_w, scratch.rows)};
  const int width = (x.epilogue.channels + L - 1) / L * L;
  for (int r = 0; r < rows.count; ++r) {
    const Row& row = rows.row[r];
    const int y = row.y * w.stride_h - w.pad_top;
    int y0, y1;
    inside_taps(y, w.in_h, w.kernel_h, w.dilation_h, y0, y1);
    for (int i = 0; i < row.count; ++i) {
      const int px = (row.x + i) * w.stride_w - w.pad_left;
      int x0, x1;
      inside_taps(px, w.in_w, w.kernel_w, w.dilation_w, x0, x1);
      const F count = f_set1(static_cast<float>(x.inside_divisor ? (y1 - y0) * (x1 - x0) : w.kernel_h * w.kernel_w));
      float* out = scratch.tile + static_cast<int64_t>(row.first + i) * width;
      const uint8_t* window = x.map.data + (y + y0) * x.map.row + (px + x0) * x.map.pixel;
      for (int c = 0; c < width; c += L) {
        const uint8_t* first = window + c * 4;
        F acc = x.average ? f_set1(0.0f) : f_load(reinterpret_cast<const float*>(first));
        for (int ky = y0; ky < y1; ++ky, first += x.map.row) {
          const uint8_t* at = first;
          for (int kx = x0; kx < x1; ++kx, at += x.map.pixel) {
            const F tap = f_load(reinterpret_cast<const float*>(at));
            acc = x.average ? f_add(acc, tap) : f_max(tap, acc);
          }
        }
        f_store(out + c, x.average ? f_div(acc, count) : acc);
      }
    }
  }
  run_epilogue(x.epilogue, Tile{scratch.tile, width, rows, 0, width});
}

}  // namespace
