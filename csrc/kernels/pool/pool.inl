// Max and average pooling over the taps inside the image, ky, kx ascending (docs/format.md, section 4).

namespace {

using netsuke::PoolArgs;

void pool(const PoolArgs& x, int unit, const Scratch& scratch) {
  const Window& w = x.window;
  const Share share = share_of(x.units, unit, 1);
  const int width = (x.epilogue.channels + L - 1) / L * L;
  int row = share.pixel / w.out_w, column = share.pixel % w.out_w;
  for (int i = 0; i < share.count; ++i) {
    const int y = row * w.stride_h - w.pad_top, px = column * w.stride_w - w.pad_left;
    if (++column == w.out_w) column = 0, ++row;
    int y0, y1, x0, x1;
    inside_taps(y, w.in_h, w.kernel_h, w.dilation_h, y0, y1);
    inside_taps(px, w.in_w, w.kernel_w, w.dilation_w, x0, x1);
    const F count = f_set1(static_cast<float>(x.inside_divisor ? (y1 - y0) * (x1 - x0) : w.kernel_h * w.kernel_w));
    float* out = scratch.tile + static_cast<int64_t>(i) * width;
    for (int c = 0; c < width; c += L) {
      const float* first = x.map + (static_cast<int64_t>(y + y0) * w.in_w + px + x0) * x.map_stride + c;
      F acc = x.average ? f_set1(0.0f) : f_load(first);
      for (int ky = y0; ky < y1; ++ky) {
        const float* at = x.map + (static_cast<int64_t>(y + ky) * w.in_w + px + x0) * x.map_stride + c;
        for (int kx = x0; kx < x1; ++kx, at += x.map_stride)
          acc = x.average ? f_add(acc, f_load(at)) : f_max(f_load(at), acc);
      }
      f_store(out + c, x.average ? f_div(acc, count) : acc);
    }
  }
  run_epilogue(x.epilogue, Tile{scratch.tile, width, share.pixel, share.count, 0, width});
}

}  // namespace
