// Float layers of one pixel whose weights are mostly zeros: float_conv (docs/format.md, section 4) without most of the terms
// 0 * x. Lanes are output channels, each gathers the x of its own next term.
//
// While every x is finite, such a term leaves y as it is, unless y is -0, which it may make +0; and whatever follows does
// to -0 what it does to +0, but for the sign of another zero. So where all of x is finite and the sum is no -0 it is the sum
// of all terms, to the bit. Elsewhere all terms are added.

namespace {

using netsuke::SparseLinearArgs;

inline uint32_t bits_of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline bool all_finite(const float* x, int count) {
  constexpr uint32_t exponent = 0x7f800000u;
  uint32_t found = 0;
  for (int k = 0; k < count; ++k) found |= (bits_of(x[k]) & exponent) == exponent;
  return !found;
}

inline bool any_negative_zero(const float* y) {
  uint32_t found = 0;
  for (int i = 0; i < L; ++i) found |= bits_of(y[i]) == 0x80000000u;
  return found;
}

void add_every_term(const SparseLinearArgs& x, int slice, const float* in, float* sum) {
  const int64_t first = x.begin[slice] * L, end = x.begin[slice + 1] * L;
  for (int i = 0; i < L; ++i) {
    float y = x.bias[slice * L + i];
    int64_t next = first + i;
    for (int k = 0; k < x.terms; ++k) {
      const bool held = next < end && x.index[next] == k;
      y = __builtin_fmaf(held ? x.value[next] : 0.0f, in[k], y);
      if (held) next += L;
    }
    sum[i] = y;
  }
}

void sparse_linear(const SparseLinearArgs& x, int unit, const Scratch& scratch) {
  constexpr int kSlices = netsuke::kPanel / L;  // of a panel
  const Conv& conv = x.conv;
  const Share share = share_of(conv.units, unit, (x.slices + kSlices - 1) / kSlices);
  const Row row = {0, 1, 0, 0, 0};
  gather_window(conv, 0, -conv.window.pad_top, -conv.window.pad_left, scratch.windows);
  const float* in = reinterpret_cast<const float*>(scratch.windows);
  const bool finite = all_finite(in, x.terms);
  for (int panel = share.first; panel < share.end; ++panel) {
    const int first = panel * kSlices, end = x.slices - first < kSlices ? x.slices : first + kSlices;
    for (int slice = first; slice < end; ++slice) {
      F y = f_load(x.bias + slice * L);
      for (int64_t at = x.begin[slice] * L; at < x.begin[slice + 1] * L; at += L)
        y = f_fma(f_load(x.value + at), f_gather(in, x.index + at), y);
      float sum[L];
      f_store(sum, y);
      if (!finite || any_negative_zero(sum)) add_every_term(x, slice, in, sum);
      for (int i = 0; i < L; ++i) scratch.tile[x.channel[slice * L + i] - first * L] = sum[i];
    }
    const int width = (end - first) * L;
    run_epilogue(conv.epilogue, Tile{scratch.tile, width, {&row, 1}, first * L, width});
  }
}

}  // namespace
