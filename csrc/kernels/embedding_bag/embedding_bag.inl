// Sums of rows of a table of bits (docs/embeddings.md): the sums of a bag stay in registers while its rows go by, a
// block of columns at a time. The rows of a large table lie anywhere in memory, so the lines of those that come next
// are asked for ahead of their turn.

namespace {

using netsuke::EmbeddingBagArgs;

constexpr int64_t kRowsAhead = 24;
constexpr int64_t kLine = 64;  // bytes
constexpr int kBagVectors = 64 / L;

inline float scale_of(const uint8_t* row) {
  uint16_t upper;
  __builtin_memcpy(&upper, row, sizeof upper);
  const uint32_t bits = static_cast<uint32_t>(upper) << 16;
  float scale;
  __builtin_memcpy(&scale, &bits, sizeof scale);
  return scale;
}

// V vectors of columns from vector `first` on, of one bag: terms [begin, end).
template <int V, bool kWeighted>
void sum_rows(const EmbeddingBagArgs& x, int64_t begin, int64_t end, int64_t first, float* out) {
  F sum[V];
  for (int v = 0; v < V; ++v) sum[v] = f_set1(0);
  int64_t count = 0;
  for (int64_t term = begin; term < end; ++term) {
    if (first == 0 && term + kRowsAhead < x.terms) {  // in place: GCC drops calls of functions that only prefetch
      const uint8_t* next = x.rows + x.indices[term + kRowsAhead] * x.row_bytes;
      for (int64_t at = 0; at < x.row_bytes; at += kLine) __builtin_prefetch(next + at);
      __builtin_prefetch(next + x.row_bytes - 1);
    }
    const int64_t index = x.indices[term];
    if (index == x.padding) continue;
    ++count;
    const uint8_t* row = x.rows + index * x.row_bytes;
    const uint8_t* bits = row + netsuke::kRowScaleBytes + first * (L / 8);
    const float scale = scale_of(row);
    const F one = f_set1(scale), zero = f_set1(-scale);
    for (int v = 0; v < V; ++v) {
      const F value = f_choose(bits + v * (L / 8), one, zero);
      sum[v] = kWeighted ? f_fma(f_set1(x.weights[term]), value, sum[v]) : f_add(sum[v], value);
    }
  }
  const F divisor = f_set1(x.mean && count > 0 ? static_cast<float>(count) : 1.0f);
  for (int v = 0; v < V; ++v) {
    const F y = f_div(sum[v], divisor);
    const int64_t column = (first + v) * L;
    if (column + L <= x.columns) {
      f_store(out + column, y);
      continue;
    }
    float last[L];
    f_store(last, y);
    for (int64_t c = column; c < x.columns; ++c) out[c] = last[c - column];
  }
}

template <int V, bool kWeighted>
inline void sum_blocks(const EmbeddingBagArgs& x, int64_t bag, int64_t vectors, int64_t& first) {
  for (; first + V <= vectors; first += V)
    sum_rows<V, kWeighted>(x, x.offsets[bag], x.offsets[bag + 1], first, x.out + bag * x.columns);
  if constexpr (V > 1) sum_blocks<V / 2, kWeighted>(x, bag, vectors, first);
}

void embedding_bag(const EmbeddingBagArgs& x) {
  const int64_t vectors = (x.columns + L - 1) / L;
  for (int64_t bag = 0; bag < x.bags; ++bag) {
    int64_t first = 0;
    if (x.weights)
      sum_blocks<kBagVectors, true>(x, bag, vectors, first);
    else
      sum_blocks<kBagVectors, false>(x, bag, vectors, first);
  }
}

}  // namespace
