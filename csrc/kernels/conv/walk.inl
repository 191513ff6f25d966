// Where the windows of a chunk of pixels lie. Usually a window is read straight from the map, whose halo holds what lies
// outside the image; where that cannot be, windows are copied together first.

namespace {

using netsuke::Conv;
using netsuke::Map;
using netsuke::Row;
using netsuke::Scratch;
using netsuke::Units;
using netsuke::Window;

inline void copy_bytes(uint8_t* to, const uint8_t* from, int64_t n) {
  __builtin_memcpy(to, from, static_cast<size_t>(n));
}

// Whole blocks: up to 15 bytes past the end are written too, so whatever comes behind must be written later.
inline void zero_blocks(uint8_t* to, int64_t n) {
  const uint64_t zeros[2] = {0, 0};
  for (int64_t b = 0; b < n; b += 16) __builtin_memcpy(to + b, zeros, 16);
}

inline void copy_blocks(uint8_t* to, const uint8_t* from, int64_t n) {
  for (int64_t b = 0; b < n; b += 16) __builtin_memcpy(to + b, from + b, 16);
}

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

// The stretches of rows that a share lies in. Returns their number.
inline int rows_of(const Share& s, const int32_t* part_end, int parts, Row* rows) {
  const int width = part_end[parts - 1];
  int n = 0, y = s.pixel / width, x = s.pixel % width, part = 0;
  while (part_end[part] <= x) ++part;
  for (int first = 0; first < s.count; ++n) {
    const int left = s.count - first, to_end = part_end[part] - x, count = to_end < left ? to_end : left;
    rows[n] = {first, count, y, x, part};
    first += count, x += count;
    if (++part == parts) part = 0, x = 0, ++y;
  }
  return n;
}

inline int rows_of(const Share& s, int width, Row* rows) { return rows_of(s, &width, 1, rows); }

// The pixel that a tap sees which may lie outside the image.
inline const uint8_t* pixel_near(const Conv& x, int row, int column) {
  const int last_row = x.window.in_h - 1, last_column = x.window.in_w - 1;
  const int y = row < 0 ? 0 : row > last_row ? last_row : row;
  const int px = column < 0 ? 0 : column > last_column ? last_column : column;
  if (x.outside && (y != row || px != column)) return x.outside;
  return x.map.data + y * x.map.row + px * x.map.pixel;
}

// One window of one group, segment after segment. What a tap's last word holds past the tap stays as it is filled.
void gather_window(const Conv& x, int group, int y, int px, uint8_t* out) {
  const Window& w = x.window;
  const int64_t segment_bytes = x.words * int64_t{4};
  __builtin_memset(out, x.fill, static_cast<size_t>(x.segments * segment_bytes));
  int y0 = 0, y1 = w.kernel_h, x0 = 0, x1 = w.kernel_w;
  const bool all = x.replicate || x.outside;
  if (!all) {
    inside_taps(y, w.in_h, w.kernel_h, w.dilation_h, y0, y1);
    inside_taps(px, w.in_w, w.kernel_w, w.dilation_w, x0, x1);
  }
  const int from = group * x.group_channels;  // in bits, where the group does not begin at a byte
  const bool by_bits = x.group_bytes == 0 && x.groups > 1;
  for (int ky = y0; ky < y1; ++ky)
    for (int kx = x0; kx < x1; ++kx) {
      const int tap = ky * w.kernel_w + kx;
      uint8_t* to = out + tap / x.segment_taps * segment_bytes + tap % x.segment_taps * x.tap_bytes;
      const int row = y + ky * w.dilation_h, column = px + kx * w.dilation_w;
      const uint8_t* at = all ? pixel_near(x, row, column) : x.map.data + row * x.map.row + column * x.map.pixel;
      if (!by_bits) {
        copy_bytes(to, at + group * x.group_bytes, x.tap_bytes);
        continue;
      }
      for (int c = 0; c < x.group_channels; c += 8) {
        const int bit = from + c, left = x.group_channels - c;
        // The byte after the last may belong to the next pixel; the mask takes its bits out.
        const uint32_t eight = (at[bit / 8] | at[bit / 8 + 1] << 8) >> (bit % 8);
        to[c / 8] = static_cast<uint8_t>(left < 8 ? eight & ((1u << left) - 1) : eight);
      }
    }
}

// How the windows of a chunk are read: word k of pixel i lies at map + at[i] + word_at[k]; word_mask[k] are the bits of it
// that belong to the window.
struct Walk {
  const uint8_t* map;
  const int32_t *at, *word_at;
  int words;
  const uint32_t* word_mask;
};

Walk walk_of(const Conv& x, int group, int pixel, const Row* rows, int row_count, const Scratch& scratch) {
  if (!x.gathered)
    return {x.map.data + group * x.group_bytes, x.window_at + pixel, x.word_at, x.segments * x.words, x.word_mask};
  const Window& w = x.window;
  for (int r = 0; r < row_count; ++r)
    for (int i = 0; i < rows[r].count; ++i)
      gather_window(x, group, rows[r].y * w.stride_h - w.pad_top, (rows[r].x + i) * w.stride_w - w.pad_left,
                    scratch.windows + x.window_at[rows[r].first + i]);
  return {scratch.windows, x.window_at, x.word_at, x.segments * x.words, x.word_mask};
}

}  // namespace
