// The one loop under every convolution: a register tile of MR windows by V vectors of output channels, one word of each
// window and V vectors of weights a step. What a step does is a family's arithmetic:
//
//   Acc, Weight, Word        an accumulator, a vector of weights, a word of a window in every lane
//   kSteps                   steps an accumulator holds before it must be added to a total, or kNoLimit
//   begin(v), weight(p), word(p), mask(p)    at first; from memory; what mask says is the family's affair
//   step(acc, weight, word, mask)            one step
//   store(acc, out, first)   out = acc, or out += acc if not the first time

namespace {

using netsuke::Block;

template <class A, int MR, int V>
inline __attribute__((always_inline)) void conv_steps(const A& arithmetic, const Walk& walk, const int32_t* at, int begin,
                                                      int end, const uint32_t* w, float* out, int64_t stride) {
  const uint8_t* a[MR];
  typename A::Acc acc[MR][V];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) {
    a[i] = walk.map + at[i];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) acc[i][v] = arithmetic.begin(v);
  }
  for (int k = begin; k < end; ++k, w += V * L) {
    const int64_t from = walk.word_at[k];
    typename A::Weight weight[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) weight[v] = A::weight(w + v * L);
    const auto mask = A::mask(walk.word_mask + k);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const auto word = A::word(a[i] + from);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[i][v] = A::step(acc[i][v], weight[v], word, mask);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) A::store(acc[i][v], out + i * stride + v * L, begin == 0);
}

template <class A, int MR, int V>
void conv_tile(const A& arithmetic, const Walk& walk, const int32_t* at, const uint32_t* w, float* out, int64_t stride) {
  if constexpr (A::kSteps == netsuke::kNoLimit) {
    conv_steps<A, MR, V>(arithmetic, walk, at, 0, walk.words, w, out, stride);
  } else {
    for (int k = 0; k < walk.words; k += A::kSteps, w += A::kSteps * V * L)
      conv_steps<A, MR, V>(arithmetic, walk, at, k, walk.words - k < A::kSteps ? walk.words : k + A::kSteps, w, out, stride);
  }
}

// `count` windows against one block. The scratch has room for whole tiles past `count`.
template <class A, int MR, int V>
void conv_rows(const A& arithmetic, const Walk& walk, int count, const uint32_t* w, float* out, int64_t stride) {
  int i = 0;
  for (; i < count && count - i > MR / 3; i += MR)
    conv_tile<A, MR, V>(arithmetic, walk, walk.at + i, w, out + i * stride, stride);
  for (; i < count; ++i) conv_tile<A, 1, V>(arithmetic, walk, walk.at + i, w, out + i * stride, stride);
}

template <class A>
void conv_block(const A& arithmetic, const Walk& walk, const Block& b, int count, const uint32_t* weight, float* out,
                int64_t stride) {
  const uint32_t* w = weight + b.weight;
  if constexpr (kWidest == 4) {
    if (b.vectors == 4) return conv_rows<A, A::kRows.of_4, 4>(arithmetic, walk, count, w, out, stride);
  }
  if (b.vectors == 2)
    conv_rows<A, A::kRows.of_2, 2>(arithmetic, walk, count, w, out, stride);
  else
    conv_rows<A, A::kRows.of_1, 1>(arithmetic, walk, count, w, out, stride);
}

// The same steps and nothing else, for the rate that a family could reach: weights stay in registers, words come from
// memory that the compiler must read anew, nothing is gathered and no epilogue follows. Returns its multiply-accumulates.
template <class A, int word_macs>
int64_t bare_loop(int64_t rounds, float* memory) {
  constexpr int V = kWidest, MR = V == 4 ? A::kRows.of_4 : A::kRows.of_2;
  const A arithmetic{};
  typename A::Acc acc[MR][V];
  typename A::Weight weight[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    weight[v] = A::weight(reinterpret_cast<const uint32_t*>(memory) + v * L);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) acc[i][v] = arithmetic.begin(v);
  }
  for (int64_t round = 0; round < rounds; ++round) {
    asm volatile("" ::: "memory");
    const auto mask = A::mask(nullptr);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const auto word = A::word(reinterpret_cast<const uint8_t*>(memory + i));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[i][v] = A::step(acc[i][v], weight[v], word, mask);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      A::store(acc[i][v], memory, true);
      asm volatile("" ::: "memory");
    }
  return rounds * MR * V * L * word_macs;
}

// One unit of a convolution. A family gives, for its arguments x: describe(x, walk, rows, scratch), which fills what the
// rest needs; block(x, walk, block, channel, count, weight, scratch, out, stride), the sums of `count` windows and one
// block of channels, the first of which is `channel`; source(x, tile, scratch), which makes y of them; settle(source, tile),
// which puts y in their place; and epilogue(x) (epilogue.inl, fixed.inl).
template <class Family, class Args>
void run_conv(const Args& x, int unit, const Scratch& scratch) {
  const Conv& conv = x.conv;
  const Share share = share_of(conv.units, unit, conv.groups == 1 ? conv.block_count : 1);
  const int row_count = rows_of(share, conv.part_end, conv.parts, scratch.rows);
  const Rows rows = {scratch.rows, row_count};
  if (conv.groups == 1) {
    const Walk walk = walk_of(conv, 0, share.pixel, scratch.rows, row_count, scratch);
    Family::describe(x, walk, rows, scratch);
    for (int b = share.first; b < share.end; ++b) {
      const Block& block = conv.blocks[b];
      const int width = block.vectors * L;
      Family::block(x, walk, block, block.channel, share.count, conv.weight, scratch, scratch.tile, width);
      const Tile tile = {scratch.tile, width, rows, block.channel, width};
      run_epilogue(Family::epilogue(x), Family::source(x, tile, scratch), tile);
    }
    return;
  }
  // Groups: each writes its channels of a tile of all channels; what it writes past them, the next one overwrites.
  // What the source needs differs from group to group, so each group is settled before the next begins.
  const int width = (conv.groups * conv.group_outputs + L - 1) / L * L;
  const int64_t stride = width + netsuke::kTileSlack;
  for (int g = 0; g < conv.groups; ++g) {
    const Walk walk = walk_of(conv, g, share.pixel, scratch.rows, row_count, scratch);
    Family::describe(x, walk, rows, scratch);
    for (int b = 0; b < conv.block_count; ++b) {
      const Block& block = conv.blocks[b];
      const int channel = g * conv.group_outputs + block.channel;
      Family::block(x, walk, block, channel, share.count, conv.weight + g * conv.group_weights, scratch,
                    scratch.tile + channel, stride);
      const Tile tile = {scratch.tile + channel, stride, rows, channel, block.vectors * L};
      Family::settle(Family::source(x, tile, scratch), tile);
    }
  }
  run_epilogue(Family::epilogue(x), Tile{scratch.tile, stride, rows, 0, width});
}

// The end of a family whose y is float.
struct FloatResult {
  template <class Args>
  static const Epilogue& epilogue(const Args& x) {
    return x.conv.epilogue;
  }
  template <class Source>
  static void settle(const Source& source, const Tile& t) {
    make_float(source, t);
  }
};

}  // namespace
