// The epilogue of a fixed-point node: the same stages over a tile of 32-bit integers. Shifts take the place of
// multiplications; everything is modulo 2^32 (docs/format.md, section 4).

namespace {

using netsuke::FixedEpilogue;
using netsuke::FixedStage;

struct IntegersFromTile {
  struct Channels {
    const float* y;
    int64_t stride;
    U operator()(int i) const { return u_load(reinterpret_cast<const uint32_t*>(y + i * stride)); }
  };
  Tile t;
  Channels at(int c) const { return {t.y + c, t.stride}; }
};

inline U u_of(const int32_t* p) { return u_load(reinterpret_cast<const uint32_t*>(p)); }
inline U u_int(int x) { return u_set1(static_cast<uint32_t>(x)); }

template <int flags, class Source>
void run_fixed_stage(const FixedStage& s, const Source& source, const Tile& t, int channels, bool last) {
  constexpr bool add = flags & FixedStage::kAdd, clamp = flags & FixedStage::kClamp, store = flags & FixedStage::kStore,
                 codes = flags & FixedStage::kCodes;
  const U zero = u_int(s.zero), least = u_int(-s.zero), most = u_int(s.most - s.zero), add_zero = u_int(-s.add_zero);
  for (int c = 0; c < t.width; c += L) {
    const int channel = t.channel + c, left = channels - channel;
    const auto y_of = source.at(c);
    const U none = u_zero();
    const U add_shift = add ? u_of(s.add_shift + channel) : none;
    const U low = clamp ? u_of(s.low + channel) : none, high = clamp ? u_of(s.high + channel) : none;
    const U shift = codes ? u_of(s.shift + channel) : none, half = codes ? u_of(s.half + channel) : none,
            odd = codes ? u_of(s.odd + channel) : none;
    const F unit = store ? f_load(s.unit + channel) : f_set1(0);
    const int count = left < L ? left : L;
    for (int r = 0; r < t.rows.count; ++r) {
      const Row& row = t.rows.row[r];
      const uint8_t* addend = add ? pixel_of(s.add, row, channel) : nullptr;
      uint8_t* stored = store ? pixel_of(s.store, row, channel * 4) : nullptr;
      uint8_t* code = codes ? pixel_of(s.codes, row, channel) : nullptr;
      const int64_t add_step = s.add.pixel, store_step = s.store.pixel, code_step = s.codes.pixel;
      const int end = row.first + row.count;
      for (int i = row.first; i < end; ++i) {
        U y = y_of(i);
        if (add) y = u_add(y, u_shl(u_add(u_load_codes(addend), add_zero), add_shift)), addend += add_step;
        if (clamp) y = i_min(i_max(y, low), high);
        if (store) f_store(reinterpret_cast<float*>(stored), f_mul(f_from_i32(y), unit)), stored += store_step;
        if (codes) {
          const U q = u_sra(u_add(u_add(y, half), u_and(u_sra(y, shift), odd)), shift);
          u_store_codes(code, u_add(i_min(i_max(q, least), most), zero), count), code += code_step;
        }
        if (!last) u_store(t.y + i * t.stride + c, y);
      }
    }
  }
}

template <class Source, int flags = 0>
void dispatch_fixed(const FixedStage& s, const Source& source, const Tile& t, int channels, bool last) {
  if constexpr (flags < FixedStage::kAll) {
    if (s.flags == flags)
      run_fixed_stage<flags>(s, source, t, channels, last);
    else
      dispatch_fixed<Source, flags + 1>(s, source, t, channels, last);
  }
}

template <class Source>
void run_epilogue(const FixedEpilogue& e, const Source& source, const Tile& t) {
  dispatch_fixed(e.stages[0], source, t, e.channels, e.count == 1);
  for (int k = 1; k < e.count; ++k) dispatch_fixed(e.stages[k], IntegersFromTile{t}, t, e.channels, k + 1 == e.count);
}

inline void run_epilogue(const FixedEpilogue& e, const Tile& t) { run_epilogue(e, IntegersFromTile{t}, t); }

// Integers in place of the sums a tile holds.
template <class Source>
void make_integers(const Source& source, const Tile& t) {
  run_fixed_stage<0>(FixedStage{}, source, t, 0, false);
}

}  // namespace
