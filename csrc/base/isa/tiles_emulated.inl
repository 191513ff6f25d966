// tiles.inl in plain C++, so that what is built on it can be tested on machines without tiles.

thread_local TileShapes tile_shapes;
thread_local uint8_t tile_data[8][16][64];

inline void tiles_begin(const TileShapes& shapes) { tile_shapes = shapes; }
inline void tiles_end() { tile_shapes = TileShapes{}; }
template <int t>
inline void tile_zero() {
  __builtin_memset(tile_data[t], 0, sizeof tile_data[t]);
}
template <int t>
inline void tile_load(const void* from, int64_t stride) {
  tile_zero<t>();
  for (int r = 0; r < tile_shapes.rows[t]; ++r)
    __builtin_memcpy(tile_data[t][r], static_cast<const uint8_t*>(from) + r * stride, tile_shapes.row_bytes[t]);
}
template <int t>
inline void tile_store(void* to, int64_t stride) {
  for (int r = 0; r < tile_shapes.rows[t]; ++r)
    __builtin_memcpy(static_cast<uint8_t*>(to) + r * stride, tile_data[t][r], tile_shapes.row_bytes[t]);
}
template <int sum, int a, int w>
inline void tile_dot() {
  for (int m = 0; m < tile_shapes.rows[sum]; ++m)
    for (int n = 0; n < tile_shapes.row_bytes[sum] / 4; ++n) {
      int32_t y;
      __builtin_memcpy(&y, tile_data[sum][m] + 4 * n, 4);
      for (int k = 0; k < tile_shapes.row_bytes[a] / 4; ++k)
        for (int b = 0; b < 4; ++b) y += tile_data[a][m][4 * k + b] * static_cast<int8_t>(tile_data[w][k][4 * n + b]);
      __builtin_memcpy(tile_data[sum][m] + 4 * n, &y, 4);
    }
}
