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

inline void zero_bytes(uint8_t* to, int64_t n) { __builtin_memset(to, 0, static_cast<size_t>(n)); }

// First and one past the last tap of `kernel` taps that lie inside [0, extent), the first of them at `origin`.
inline void inside_taps(int origin, int extent, int kernel, int dilation, int& first, int& end) {
  first = origin >= 0 ? 0 : (-origin + dilation - 1) / dilation;
  end = origin >= extent ? 0 : (extent - 1 - origin) / dilation + 1;
  if (end > kernel) end = kernel;
  if (first > end) first = end;
}

// Reads kernel rows of at most 8 bytes with one load each: the windows of narrow binary maps.
void gather_narrow(const Window& w, const Gather& g, int x, int count, int y, uint8_t* out) {
  const int64_t used = w.kernel_w * g.tap_bytes;
  const uint64_t mask = used == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * used)) - 1;
  const uint8_t* at = g.map + (static_cast<int64_t>(y) * w.in_w + x) * g.pixel_stride;
  for (int i = 0; i < count; ++i, at += w.stride_w * g.pixel_stride, out += g.window_bytes)
    for (int ky = 0; ky < w.kernel_h; ++ky) {
      uint64_t taps;
      __builtin_memcpy(&taps, at + static_cast<int64_t>(ky) * w.dilation_h * w.in_w * g.pixel_stride, 8);
      taps &= mask;
      if (g.row_bytes == 8) {
        __builtin_memcpy(out + ky * 8, &taps, 8);
      } else {
        const uint32_t low = static_cast<uint32_t>(taps);
        __builtin_memcpy(out + ky * 4, &low, 4);
      }
    }
}

void gather_one(const Window& w, const Gather& g, int py, int px, uint8_t* out) {
  const int y = py * w.stride_h - w.pad_top, x = px * w.stride_w - w.pad_left;
  int y0, y1, x0, x1;
  inside_taps(y, w.in_h, w.kernel_h, w.dilation_h, y0, y1);
  inside_taps(x, w.in_w, w.kernel_w, w.dilation_w, x0, x1);
  const bool joined = w.dilation_w == 1 && g.pixel_stride == g.tap_bytes;
  for (int ky = 0; ky < w.kernel_h; ++ky, out += g.row_bytes) {
    if (ky < y0 || ky >= y1 || x0 == x1) {
      zero_bytes(out, g.row_bytes);
      continue;
    }
    const uint8_t* row = g.map + static_cast<int64_t>(y + ky * w.dilation_h) * w.in_w * g.pixel_stride;
    if (x0 > 0) zero_bytes(out, x0 * g.tap_bytes);
    if (joined) {
      copy_bytes(out + x0 * g.tap_bytes, row + (x + x0) * g.pixel_stride, (x1 - x0) * g.tap_bytes);
    } else {
      for (int kx = x0; kx < x1; ++kx)
        copy_bytes(out + kx * g.tap_bytes, row + (x + kx * w.dilation_w) * g.pixel_stride, g.tap_bytes);
    }
    const int64_t done = x1 * g.tap_bytes;
    if (done < g.row_bytes) zero_bytes(out + done, g.row_bytes - done);
  }
}

// Windows of pixels [pixel, pixel + count), one every window_bytes.
void gather(const Window& w, const Gather& g, int pixel, int count, uint8_t* out) {
  const bool narrow = g.row_bytes <= 8 && g.row_bytes % 4 == 0 && w.dilation_w == 1 && g.pixel_stride == g.tap_bytes;
  // Columns [x0, x1) of the result see no border on the left or right, rows [y0, y1) none above or below.
  const int x0 = (w.pad_left + w.stride_w - 1) / w.stride_w, y0 = (w.pad_top + w.stride_h - 1) / w.stride_h;
  const int last_x = w.in_w - 1 - (w.kernel_w - 1) * w.dilation_w + w.pad_left;
  const int last_y = w.in_h - 1 - (w.kernel_h - 1) * w.dilation_h + w.pad_top;
  const int x1 = last_x < 0 ? 0 : last_x / w.stride_w + 1, y1 = last_y < 0 ? 0 : last_y / w.stride_h + 1;
  int py = pixel / w.out_w, px = pixel % w.out_w;
  while (count > 0) {
    int n = 1;
    if (narrow && py >= y0 && py < y1 && px >= x0 && px < x1) {
      n = x1 - px < count ? x1 - px : count;
      if (n > w.out_w - px) n = w.out_w - px;
      gather_narrow(w, g, px * w.stride_w - w.pad_left, n, py * w.stride_h - w.pad_top, out);
    } else {
      gather_one(w, g, py, px, out);
    }
    out += n * g.window_bytes;
    count -= n;
    px += n;
    if (px == w.out_w) px = 0, ++py;
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
