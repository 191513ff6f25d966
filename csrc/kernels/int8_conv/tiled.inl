// The dot products of an 8-bit convolution on tiles. Windows are copied together, one behind another; 16 of them are the
// rows of one tile, 16 channels the columns of another, and both go along the window 64 bytes at a time. Tiles 0 to 3 hold
// the sums of up to 4 vectors of channels, 4 and 5 what is multiplied, 6 and 7 the same at the end of a window.

namespace {

constexpr int kTileWords = 16;

inline int64_t tiled_window_bytes(const Conv& x) { return int64_t{x.segments} * x.words * 4; }

inline void shape_tiles(const Conv& x) {
  const int left = static_cast<int>(tiled_window_bytes(x) / 4 % kTileWords);
  TileShapes shapes;
  for (int t = 0; t < 6; ++t) shapes.rows[t] = 16, shapes.row_bytes[t] = 64;
  if (left) {
    shapes.rows[6] = 16, shapes.row_bytes[6] = static_cast<uint16_t>(left * 4);
    shapes.rows[7] = static_cast<uint8_t>(left), shapes.row_bytes[7] = 64;
  }
  tiles_begin(shapes);
}

// Windows that are read from the map, one behind another in scratch.windows.
inline void copy_windows(const Conv& x, const Walk& walk, const Rows& rows, const Scratch& scratch) {
  if (x.gathered) return;
  const Row& last = rows.row[rows.count - 1];
  uint8_t* to = scratch.windows;
  for (int i = 0; i < last.first + last.count; ++i)
    for (int s = 0; s < x.segments; ++s, to += x.words * 4)
      copy_bytes(to, walk.map + walk.at[i] + walk.word_at[s * x.words], x.words * 4);
}

template <int V, int a, int w>
inline void dot_step(const uint8_t* window, int64_t pitch, const uint32_t* weight) {
  tile_load<a>(window, pitch);
  tile_load<w>(weight, V * 64), tile_dot<0, a, w>();
  if constexpr (V > 1) tile_load<w>(weight + 16, V * 64), tile_dot<1, a, w>();
  if constexpr (V > 2) tile_load<w>(weight + 32, V * 64), tile_dot<2, a, w>();
  if constexpr (V > 3) tile_load<w>(weight + 48, V * 64), tile_dot<3, a, w>();
}

template <int V>
void tiled_rows(const Conv& x, const uint8_t* windows, int count, const uint32_t* weight, float* out, int64_t stride) {
  const int64_t pitch = tiled_window_bytes(x), words = pitch / 4;
  for (int i = 0; i < count; i += 16) {
    const uint8_t* window = windows + i * pitch;
    tile_zero<0>(), tile_zero<1>(), tile_zero<2>(), tile_zero<3>();
    int64_t k = 0;
    for (; k + kTileWords <= words; k += kTileWords) dot_step<V, 4, 5>(window + k * 4, pitch, weight + k * V * L);
    if (k < words) dot_step<V, 6, 7>(window + k * 4, pitch, weight + k * V * L);
    float* to = out + i * stride;
    tile_store<0>(to, stride * 4);
    if constexpr (V > 1) tile_store<1>(to + 16, stride * 4);
    if constexpr (V > 2) tile_store<2>(to + 32, stride * 4);
    if constexpr (V > 3) tile_store<3>(to + 48, stride * 4);
  }
}

struct TiledInt8Family : FloatResult {
  static void describe(const Int8ConvArgs& x, const Walk& walk, const Rows& rows, const Scratch& scratch) {
    copy_windows(x.conv, walk, rows, scratch);
  }
  static void block(const Int8ConvArgs& x, const Walk&, const Block& b, int, int count, const uint32_t* weight,
                    const Scratch& scratch, float* out, int64_t stride) {
    const uint32_t* w = weight + b.weight;
    if (b.vectors == 4)
      tiled_rows<4>(x.conv, scratch.windows, count, w, out, stride);
    else if (b.vectors == 2)
      tiled_rows<2>(x.conv, scratch.windows, count, w, out, stride);
    else
      tiled_rows<1>(x.conv, scratch.windows, count, w, out, stride);
  }
  static FromDots source(const Int8ConvArgs& x, const Tile& t, const Scratch&) { return {x, t}; }
};

}  // namespace
