// Fixed-point nodes but for the convolution, which is int8_conv's with another end: pools, and maps side by side.

namespace {

using netsuke::FixedCopyArgs;
using netsuke::FixedPoolArgs;
using netsuke::FixedSource;

void fixed_pool(const FixedPoolArgs& x, int unit, const Scratch& scratch) {
  const Window& w = x.window;
  const Share share = share_of(x.units, unit, 1);
  const Rows rows = {scratch.rows, rows_of(share, w.out_w, scratch.rows)};
  const int width = (x.epilogue.channels + L - 1) / L * L;
  const U multiplier = u_int(x.multiplier);
  for (int r = 0; r < rows.count; ++r) {
    const Row& row = rows.row[r];
    const int y = row.y * w.stride_h - w.pad_top;
    int y0, y1;
    inside_taps(y, w.in_h, w.kernel_h, w.dilation_h, y0, y1);
    for (int i = 0; i < row.count; ++i) {
      const int px = (row.x + i) * w.stride_w - w.pad_left;
      int x0, x1;
      inside_taps(px, w.in_w, w.kernel_w, w.dilation_w, x0, x1);
      const U minus = u_int(-x.zero * (x.average ? (y1 - y0) * (x1 - x0) : 1));
      float* out = scratch.tile + static_cast<int64_t>(row.first + i) * width;
      const uint8_t* window = x.map.data + (y + y0) * x.map.row + (px + x0) * x.map.pixel;
      for (int c = 0; c < width; c += L) {
        const uint8_t* first = window + c;
        U acc = x.average ? u_zero() : u_load_codes(first);
        for (int ky = y0; ky < y1; ++ky, first += x.map.row) {
          const uint8_t* at = first;
          for (int kx = x0; kx < x1; ++kx, at += x.map.pixel)
            acc = x.average ? u_add(acc, u_load_codes(at)) : i_max(acc, u_load_codes(at));
        }
        u_store(out + c, u_mul(u_add(acc, minus), multiplier));
      }
    }
  }
  run_epilogue(x.epilogue, Tile{scratch.tile, width, rows, 0, width});
}

void fixed_copy(const FixedCopyArgs& x, int unit, const Scratch& scratch) {
  const Share share = share_of(x.units, unit, 1);
  const Rows rows = {scratch.rows, rows_of(share, x.width, scratch.rows)};
  const int width = (x.epilogue.channels + L - 1) / L * L;
  const FixedSource& last = x.sources[x.source_count - 1];
  const int begin = x.sources[0].at, end = last.at + last.channels;
  for (int r = 0; r < rows.count; ++r) {
    const Row& row = rows.row[r];
    for (int i = 0; i < row.count; ++i) {
      // What a source writes past its end, the next one overwrites: zeros come first and last.
      float* out = scratch.tile + static_cast<int64_t>(row.first + i) * width;
      zero_blocks(reinterpret_cast<uint8_t*>(out), begin * int64_t{4});
      for (int s = 0; s < x.source_count; ++s) {
        const FixedSource& from = x.sources[s];
        const uint8_t* at = pixel_of(from.map, row, 0) + i * from.map.pixel;
        const U minus = u_int(-from.zero), shift = u_int(from.shift);
        for (int c = 0; c < from.channels; c += L)
          u_store(out + from.at + c, u_shl(u_add(u_load_codes(at + c), minus), shift));
      }
      zero_blocks(reinterpret_cast<uint8_t*>(out + end), (width - end) * int64_t{4});
    }
  }
  run_epilogue(x.epilogue, Tile{scratch.tile, width, rows, 0, width});
}

}  // namespace
