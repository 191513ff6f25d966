// Gathers the windows of a run of pixels into rows of memory, zeros for the taps outside the image. A window is its
// kernel rows one after another, each `row_bytes` long: kernel_w taps of `tap_bytes`, then zeros.

namespace {

using netsuke::Scratch;
using netsuke::Units;
using netsuke::Window;

struct Gather {
  const uint8_t* map;
  int64_t pixel_stride;           // bytes from one pixel of the map to the next
  int64_t tap_bytes, row_bytes, window_bytes;
};

inline void copy_bytes(uint8_t* to, const uint8_t* from, int64_t n) {
  if (n >= 64) {
    __builtin_memcpy(to, from, static_cast<size_t>(n));
    return;
  }
  for (; n >= 8; n -= 8, to += 8, from += 8) __builtin_memcpy(to, from, 8);
  if (n >= 4) {
    __builtin_memcpy(to, from, 4);
    n -= 4, to += 4, from += 4;
  }
  for (; n > 0; --n) *to++ = *from++;
}

// Whole blocks: up to 15 bytes past the end are written too, so whatever comes behind must be written later.
inline void zero_blocks(uint8_t* to, int64_t n) {
  const uint64_t zeros[2] = {0, 0};
  for (int64_t b = 0; b < n; b += 16) __builtin_memcpy(to + b, zeros, 16);
}

inline void copy_blocks(uint8_t* to, const uint8_t* from, int64_t n) {
  for (int64_t b = 0; b < n; b += 16) __builtin_memcpy(to + b, from + b, 16);
}

inline void zero_bytes(uint8_t* to, int64_t n) { __builtin_memset(to, 0, static_cast<size_t>(n)); }

// First and one past the last tap of `kernel` taps that lie inside [0, extent), the first of them at `origin`.
inline void inside_taps(int origin, int extent, int kernel, int dilation, int& first, int& end) {
  if (dilation == 1) {  // the usual case, without divisions
    first = origin >= 0 ? 0 : -origin;
    end = origin >= extent ? 0 : extent - origin;
  } else {
    first = origin >= 0 ? 0 : (-origin + dilation - 1) / dilation;
    end = origin >= extent ? 0 : (extent - 1 - origin) / dilation + 1;
  }
  if (end > kernel) end = kernel;
  if (first > end) first = end;
}

inline bool joined(const Window& w, const Gather& g) { return w.dilation_w == 1 && g.pixel_stride == g.tap_bytes; }

// One window that a left or right border cuts, or whose taps do not lie side by side. Kernel rows [y0, y1) are inside.
void gather_one(const Window& w, const Gather& g, int y, int x, int y0, int y1, uint8_t* out) {
  int x0, x1;
  inside_taps(x, w.in_w, w.kernel_w, w.dilation_w, x0, x1);
  zero_blocks(out, g.window_bytes);
  const int64_t down = int64_t{w.dilation_h} * w.in_w * g.pixel_stride, right = w.dilation_w * g.pixel_stride;
  const uint8_t* at = g.map + (int64_t{y} * w.in_w + x) * g.pixel_stride;
  for (int ky = y0; ky < y1; ++ky) {
    uint8_t* to = out + ky * g.row_bytes;
    if (joined(w, g))
      copy_bytes(to + x0 * g.tap_bytes, at + ky * down + x0 * g.tap_bytes, (x1 - x0) * g.tap_bytes);
    else
      for (int kx = x0; kx < x1; ++kx) copy_bytes(to + kx * g.tap_bytes, at + ky * down + kx * right, g.tap_bytes);
  }
}

inline __attribute__((always_inline)) int count_ones(const uint8_t* bytes, int64_t n) {
  int ones = 0;
  for (; n >= 8; n -= 8, bytes += 8) {
    uint64_t eight;
    __builtin_memcpy(&eight, bytes, 8);
    ones += __builtin_popcountll(eight);
  }
  if (n >= 4) {
    uint32_t four;
    __builtin_memcpy(&four, bytes, 4);
    ones += __builtin_popcount(four);
  }
  return ones;  // a window is whole words
}

// Copies one kernel row of at most 8 bytes: one load, one mask. Where a row has 4 bytes, what is written past it is
// overwritten by the next. Returns its popcount if asked to.
struct NarrowRow {
  uint64_t mask;
  template <bool counting>
  int copy(uint8_t* to, const uint8_t* from) const {
    uint64_t taps;
    __builtin_memcpy(&taps, from, 8);
    taps &= mask;
    __builtin_memcpy(to, &taps, 8);
    return counting ? __builtin_popcountll(taps) : 0;
  }
};

// Likewise any row, in blocks of 16 bytes.
struct WideRow {
  int64_t bytes;
  template <bool counting>
  int copy(uint8_t* to, const uint8_t* from) const {
    copy_blocks(to, from, bytes);
    return counting ? count_ones(from, bytes) : 0;
  }
};

// Likewise rows of a size that many networks have, unrolled.
template <int bytes>
struct FixedRow {
  template <bool counting>
  int copy(uint8_t* to, const uint8_t* from) const {
#pragma GCC unroll 4
    for (int b = 0; b < bytes; b += 16) __builtin_memcpy(to + b, from + b, 16);
    return counting ? count_ones(from, bytes) : 0;
  }
};

// `count` windows in one row of the result that no left or right border cuts. `at` is the first one's first tap in the
// map, were it inside; only kernel rows [y0, y1) are.
template <bool counting, int height, class Row>
void gather_rows(const Window& w, const Gather& g, const uint8_t* at, int y0, int y1, int count, uint8_t* out,
                 int32_t* ones, Row row) {
  const int64_t down = int64_t{w.dilation_h} * w.in_w * g.pixel_stride, right = w.stride_w * g.pixel_stride;
  const int end = height ? height : y1;
  for (int i = 0; i < count; ++i, at += right, out += g.window_bytes) {
    int n = 0;
    if (!height) zero_blocks(out, y0 * g.row_bytes);
#pragma GCC unroll 3
    for (int ky = height ? 0 : y0; ky < end; ++ky) n += row.template copy<counting>(out + ky * g.row_bytes, at + ky * down);
    if (!height) zero_blocks(out + y1 * g.row_bytes, (w.kernel_h - y1) * g.row_bytes);
    if (counting) ones[i] = n;
  }
}

template <class Row>
void gather_run(const Window& w, const Gather& g, const uint8_t* at, int y0, int y1, int count, uint8_t* out,
                int32_t* ones, Row row) {
  const bool whole_3 = w.kernel_h == 3 && y0 == 0 && y1 == 3;
  if (ones)
    whole_3 ? gather_rows<true, 3>(w, g, at, y0, y1, count, out, ones, row)
            : gather_rows<true, 0>(w, g, at, y0, y1, count, out, ones, row);
  else
    whole_3 ? gather_rows<false, 3>(w, g, at, y0, y1, count, out, ones, row)
            : gather_rows<false, 0>(w, g, at, y0, y1, count, out, ones, row);
}

// Windows of pixels [pixel, pixel + count), one every window_bytes; in `ones`, unless it is null, their popcounts.
void gather(const Window& w, const Gather& g, int pixel, int count, uint8_t* out, int32_t* ones) {
  const int64_t used = w.kernel_w * g.tap_bytes;
  // Columns [x0, x1) of the result see no left or right border.
  const int x0 = (w.pad_left + w.stride_w - 1) / w.stride_w;
  const int last = w.in_w - 1 - (w.kernel_w - 1) * w.dilation_w + w.pad_left;
  const int x1 = last < 0 ? 0 : last / w.stride_w + 1;
  const bool by_rows = joined(w, g) && (used <= 8 || used == g.row_bytes);
  int py = pixel / w.out_w, px = pixel % w.out_w;
  for (; count > 0; px = 0, ++py) {
    const int y = py * w.stride_h - w.pad_top;
    int y0, y1;
    inside_taps(y, w.in_h, w.kernel_h, w.dilation_h, y0, y1);
    const int row_end = w.out_w - px < count ? w.out_w : px + count;
    while (px < row_end) {
      const int x = px * w.stride_w - w.pad_left;
      int n = 1;
      if (by_rows && px >= x0 && px < x1) {
        n = (x1 < row_end ? x1 : row_end) - px;
        const uint8_t* at = g.map + (int64_t{y} * w.in_w + x) * g.pixel_stride;
        if (used <= 8)
          gather_run(w, g, at, y0, y1, n, out, ones, NarrowRow{used == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * used)) - 1});
        else if (used == 12)  // 3 taps of 32 binary channels
          gather_run(w, g, at, y0, y1, n, out, ones, FixedRow<12>{});
        else if (used == 24)  // 3 taps of 64
          gather_run(w, g, at, y0, y1, n, out, ones, FixedRow<24>{});
        else if (used == 36)  // 3 taps of 3 float channels
          gather_run(w, g, at, y0, y1, n, out, ones, FixedRow<36>{});
        else
          gather_run(w, g, at, y0, y1, n, out, ones, WideRow{used});
      } else {
        gather_one(w, g, y, x, y0, y1, out);
        if (ones) *ones = count_ones(out, g.window_bytes);
      }
      out += n * g.window_bytes;
      if (ones) ones += n;
      count -= n;
      px += n;
    }
  }
}

// The pixels and the share of `blocks` that unit `unit` does.
struct Share {
  int pixel, count, first, end;
};

inline Share share_of(const Units& u, int unit, int blocks) {
  const int chunk = unit / u.splits, split = unit % u.splits;
  Share s;
  s.pixel = chunk * u.chunk;
  s.count = u.pixels - s.pixel < u.chunk ? u.pixels - s.pixel : u.chunk;
  s.first = static_cast<int>(static_cast<int64_t>(blocks) * split / u.splits);
  s.end = static_cast<int>(static_cast<int64_t>(blocks) * (split + 1) / u.splits);
  return s;
}

}  // namespace
