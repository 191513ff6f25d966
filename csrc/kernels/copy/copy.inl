// pad_channels, concat and identity: the inputs' channels put side by side, zeros where there are none.

namespace {

using netsuke::CopyArgs;
using netsuke::CopySource;

// y straight from a map; the tile begins with the map's first channel.
struct FromMap {
  struct InRow {
    const uint8_t* at;
    int64_t pixel;
    int first;
    F operator()(int i) const { return f_load(reinterpret_cast<const float*>(at + (i - first) * pixel)); }
  };
  struct Channels {
    const Map& map;
    int c;
    InRow in(const Row& row) const { return {pixel_of(map, row, c * 4), map.pixel, row.first}; }
  };
  const Map& map;
  Channels at(int c) const { return {map, c}; }
};

void copy(const CopyArgs& x, int unit, const Scratch& scratch) {
  const Share share = share_of(x.units, unit, 1);
  const Rows rows = {scratch.rows, rows_of(share, x.width, scratch.rows)};
  const int width = (x.epilogue.channels + L - 1) / L * L;
  if (x.direct) {
    for (int s = 0; s < x.source_count; ++s) {
      const CopySource& from = x.sources[s];
      const Tile tile = {scratch.tile + from.at, width, rows, from.at, (from.channels + L - 1) / L * L};
      run_epilogue(x.epilogue, FromMap{from.map}, tile);
    }
    return;
  }
  // What a block writes past its end, the next one overwrites: sources lie side by side, zeros come before and after.
  const CopySource& last = x.sources[x.source_count - 1];
  const int begin = x.sources[0].at, end = last.at + last.channels;
  for (int r = 0; r < rows.count; ++r) {
    const Row& row = rows.row[r];
    for (int i = 0; i < row.count; ++i) {
      float* out = scratch.tile + static_cast<int64_t>(row.first + i) * width;
      zero_blocks(reinterpret_cast<uint8_t*>(out), begin * int64_t{4});
      for (int s = 0; s < x.source_count; ++s) {
        const CopySource& from = x.sources[s];
        copy_blocks(reinterpret_cast<uint8_t*>(out + from.at), pixel_of(from.map, row, i * from.map.pixel),
                    from.channels * int64_t{4});
      }
      zero_blocks(reinterpret_cast<uint8_t*>(out + end), (width - end) * int64_t{4});
    }
  }
  run_epilogue(x.epilogue, Tile{scratch.tile, width, rows, 0, width});
}

}  // namespace
