// logic, and gather of bits: a word of 32 bits of the result at a time, from the words that its bits come from. Where the
// result is wanted as bits alone they are written at once; elsewhere they become the numbers -1 and +1 in the tile.

namespace {

using netsuke::BitsArgs;
using netsuke::BitsMove;

// 32 bits from anywhere. A map has slack behind it.
inline uint32_t load_word(const uint8_t* at) {
  uint32_t word;
  __builtin_memcpy(&word, at, 4);
  return word;
}

// Bits k of the lower half to the places 2 * k.
inline uint32_t spread(uint32_t x) {
  x &= 0xffff;
  x = (x | x << 8) & 0x00ff00ffu;
  x = (x | x << 4) & 0x0f0f0f0fu;
  x = (x | x << 2) & 0x33333333u;
  return (x | x << 1) & 0x55555555u;
}

inline uint32_t logic_word(const BitsArgs& x, const Row& row, int i, int word) {
  const Map &a = x.sources[0], &b = x.sources[1];
  const uint32_t p = load_word(pixel_of(a, row, i * a.pixel + word * 4));
  const uint32_t q = load_word(pixel_of(b, row, i * b.pixel + word * 4));
  return (x.either ? p | q : ~(p ^ q)) & (word + 1 < x.words ? ~0u : x.last_mask);
}

inline uint32_t gather_word(const BitsArgs& x, const Row& row, int i, int word) {
  uint32_t bits = 0;
  for (int32_t k = x.begin[word]; k < x.begin[word + 1]; ++k) {
    const BitsMove& m = x.moves[k];
    const Map& from = x.sources[m.source];
    uint64_t found;  // 32 bits begin at any of the first eight
    __builtin_memcpy(&found, pixel_of(from, row, i * from.pixel + m.byte), 8);
    const uint32_t run = static_cast<uint32_t>(found >> m.shift);
    bits |= ((m.spread ? spread(run) : run) << m.place) & m.mask;
  }
  return bits;
}

// Of a map without bits past the last channel, pixels lie without gaps: a stretch of a row is one string.
void logic_string(const BitsArgs& x, const Row& row) {
  const uint8_t *p = pixel_of(x.sources[0], row, 0), *q = pixel_of(x.sources[1], row, 0);
  uint8_t* out = pixel_of(x.to, row, 0);
  const int64_t bytes = row.count * x.to.pixel;
  int64_t b = 0;
  for (; b + 8 <= bytes; b += 8) {
    uint64_t c, d;
    __builtin_memcpy(&c, p + b, 8);
    __builtin_memcpy(&d, q + b, 8);
    c = x.either ? c | d : ~(c ^ d);
    __builtin_memcpy(out + b, &c, 8);
  }
  for (; b < bytes; ++b) out[b] = static_cast<uint8_t>(x.either ? p[b] | q[b] : ~(p[b] ^ q[b]));
}

// 2 bytes, or 4.
template <int bytes>
inline void store_word(uint8_t* to, uint32_t word) {
  __builtin_memcpy(to, &word, bytes);
}

template <int bytes>
void write_logic(const BitsArgs& x, const Rows& rows) {
  for (int r = 0; r < rows.count; ++r)
    for (int i = 0; i < rows.row[r].count; ++i)
      for (int w = 0; w < x.words; ++w)
        store_word<bytes>(pixel_of(x.to, rows.row[r], i * x.to.pixel + w * 4), logic_word(x, rows.row[r], i, w));
}

// What one move brings to one word of every pixel of a stretch.
template <int bytes, bool spreads>
void write_move(const BitsMove& m, const uint8_t* from, int64_t step, uint8_t* to, int64_t to_step, int count, bool first) {
  for (int i = 0; i < count; ++i, from += step, to += to_step) {
    uint64_t found;
    __builtin_memcpy(&found, from, 8);
    const uint32_t run = static_cast<uint32_t>(found >> m.shift);
    uint32_t word = 0;
    if (!first) __builtin_memcpy(&word, to, bytes);
    store_word<bytes>(to, word | (((spreads ? spread(run) : run) << m.place) & m.mask));
  }
}

template <int bytes>
void write_gather(const BitsArgs& x, const Rows& rows) {
  for (int r = 0; r < rows.count; ++r) {
    const Row& row = rows.row[r];
    for (int w = 0; w < x.words; ++w) {
      uint8_t* to = pixel_of(x.to, row, w * 4);
      for (int32_t k = x.begin[w]; k < x.begin[w + 1]; ++k) {
        const BitsMove m = x.moves[k];
        const Map& from = x.sources[m.source];
        const auto write = m.spread ? write_move<bytes, true> : write_move<bytes, false>;
        write(m, pixel_of(from, row, m.byte), from.pixel, to, x.to.pixel, row.count, k == x.begin[w]);
      }
    }
  }
}

template <class WordOf>
void write_numbers(const BitsArgs& x, const Rows& rows, float* tile, int width, WordOf word_of) {
  for (int r = 0; r < rows.count; ++r)
    for (int i = 0; i < rows.row[r].count; ++i) {
      float* out = tile + static_cast<int64_t>(rows.row[r].first + i) * width;
      for (int w = 0; w < x.words; ++w) {
        const uint32_t word = word_of(x, rows.row[r], i, w);
        const int left = width - w * 32, count = left < 32 ? left : 32;
        for (int c = 0; c < count; ++c) out[w * 32 + c] = word >> c & 1 ? 1.0f : -1.0f;
      }
    }
}

void bits(const BitsArgs& x, int unit, const Scratch& scratch) {
  const Share share = share_of(x.units, unit, 1);
  const Rows rows = {scratch.rows, rows_of(share, x.width, scratch.rows)};
  const bool halves = x.to.pixel < 4;
  if (x.packed && x.moves) return halves ? write_gather<2>(x, rows) : write_gather<4>(x, rows);
  if (x.packed && !x.whole) return halves ? write_logic<2>(x, rows) : write_logic<4>(x, rows);
  if (x.packed) {
    for (int r = 0; r < rows.count; ++r) logic_string(x, rows.row[r]);
    return;
  }
  const int width = (x.epilogue.channels + L - 1) / L * L;
  if (x.moves)
    write_numbers(x, rows, scratch.tile, width, gather_word);
  else
    write_numbers(x, rows, scratch.tile, width, logic_word);
  run_epilogue(x.epilogue, Tile{scratch.tile, width, rows, 0, width});
}

}  // namespace
