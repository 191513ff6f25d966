// Float layers of one pixel whose weights take at most 4 values: float_conv (docs/format.md, section 4) with weights of
// 2 bits, looked up in a register as they are used. Every term is added, in order, so the bits are those of float_conv.

namespace {

using netsuke::CodebookLinearArgs;

// `count` terms: the lowest codes of each word come first.
template <int V, bool scaled>
inline __attribute__((always_inline)) void codebook_terms(F table, const F (&scale)[V], const float* in, int count,
                                                          U (&code)[V], F (&sum)[V]) {
#pragma GCC unroll 16
  for (int k = 0; k < count; ++k) {
    const F word = f_set1(in[k]);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      F weight = f_pick(table, code[v]);
      if (scaled) weight = f_fma(weight, scale[v], f_set1(0));  // + 0: a weight of -0 counts as +0
      sum[v] = f_fma(weight, word, sum[v]);
      code[v] = u_sra(code[v], u_set1(2));
    }
  }
}

template <int V, bool scaled>
void codebook_block(const CodebookLinearArgs& x, const Block& b, const float* in, float* out) {
  const F table = f_load(x.table);
  F sum[V], scale[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    sum[v] = f_load(x.bias + b.channel + v * L);
    scale[v] = scaled ? f_load(x.scale + b.channel + v * L) : table;
  }
  const uint32_t* words = x.conv.weight + b.weight;
  for (int first = 0; first < x.terms; first += netsuke::kCodesOfWord, words += V * L) {
    U code[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) code[v] = u_load(words + v * L);
    if (x.terms - first >= netsuke::kCodesOfWord)
      codebook_terms<V, scaled>(table, scale, in + first, netsuke::kCodesOfWord, code, sum);
    else
      codebook_terms<V, scaled>(table, scale, in + first, x.terms - first, code, sum);
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) f_store(out + v * L, sum[v]);
}

template <bool scaled>
void codebook_block(const CodebookLinearArgs& x, const Block& b, const float* in, float* out) {
  if (b.vectors == 4) return codebook_block<4, scaled>(x, b, in, out);
  if (b.vectors == 2) return codebook_block<2, scaled>(x, b, in, out);
  codebook_block<1, scaled>(x, b, in, out);
}

void codebook_linear(const CodebookLinearArgs& x, int unit, const Scratch& scratch) {
  const Conv& conv = x.conv;
  const Share share = share_of(conv.units, unit, conv.block_count);
  const Row row = {0, 1, 0, 0, 0};
  gather_window(conv, 0, -conv.window.pad_top, -conv.window.pad_left, scratch.windows);
  const float* in = reinterpret_cast<const float*>(scratch.windows);
  for (int i = share.first; i < share.end; ++i) {
    const Block& b = conv.blocks[i];
    const int width = b.vectors * L;
    if (x.scale)
      codebook_block<true>(x, b, in, scratch.tile);
    else
      codebook_block<false>(x, b, in, scratch.tile);
    run_epilogue(conv.epilogue, Tile{scratch.tile, width, {&row, 1}, b.channel, width});
  }
}

}  // namespace
