namespace {

inline U popcount(U x) {
#if defined(__AVX512VPOPCNTDQ__)
  return reinterpret_cast<U>(_mm512_popcnt_epi32(reinterpret_cast<__m512i>(x)));
#else
  x = x - (x >> 1 & 0x55555555u);
  x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0fu;
  return x * 0x01010101u >> 24;
#endif
}

// One image's bits with a frame of zeros, and how many are set in each window.
struct Framed {
  int64_t width, row;            // pixels, bytes
  uint8_t* bits;
  int32_t *pixels, *windows;     // set bits of a pixel; of a run of kernel_w pixels, by row of the frame
};

inline Framed framed(const BinaryConv& b, int64_t image) {
  const int64_t bytes = b.channels / 8, height = b.in_h + 2 * b.pad_h, width = b.in_w + 2 * b.pad_w;
  const int64_t row = width * bytes, size = (height * row + 64 + 63) / 64 * 64;
  const int64_t counts = height * (width + L);
  auto* memory = static_cast<uint8_t*>(__builtin_malloc(static_cast<size_t>(size + 8 * counts)));
  __builtin_memset(memory, 0, static_cast<size_t>(size));
  Framed f{width, row, memory, reinterpret_cast<int32_t*>(memory + size), nullptr};
  f.windows = f.pixels + counts;
  const auto* source = reinterpret_cast<const uint8_t*>(b.bits) + image * b.in_h * b.in_w * bytes;
  for (int64_t y = 0; y < b.in_h; ++y)
    __builtin_memcpy(memory + (y + b.pad_h) * row + b.pad_w * bytes, source + y * b.in_w * bytes,
                     static_cast<size_t>(b.in_w * bytes));
  for (int64_t y = 0; y < height; ++y) {
    const auto* words = reinterpret_cast<const uint16_t*>(memory + y * row);
    int32_t *pixels = f.pixels + y * (width + L), *windows = f.windows + y * (width + L);
    for (int64_t x = 0; x < width; ++x) {
      int32_t set = 0;
      for (int64_t k = 0; k < b.channels / 16; ++k) set += __builtin_popcount(words[x * (b.channels / 16) + k]);
      pixels[x] = set;
    }
    for (int64_t x = 0; x < b.out_w; ++x) {
      int32_t set = 0;
      for (int64_t k = 0; k < b.kernel_w; ++k) set += pixels[x * b.stride_w + k];
      windows[x] = set;
    }
  }
  return f;
}

inline U broadcast(const uint8_t* p) {
  uint32_t word;
  __builtin_memcpy(&word, p, sizeof word);
  return U{} + word;
}

// P pixels of one row from column x on, and V vectors of channels from `o` on.
template <class T, int P, int V>
inline void conv_tile(const BinaryConv& b, const Framed& f, int64_t image, int64_t y, int64_t x, int64_t o) {
  const int64_t step = b.stride_w * b.channels / 8;
  U sums[P][V] = {};
  const uint32_t* weight = b.weight + o;
  for (int64_t ky = 0; ky < b.kernel_h; ++ky) {
    const uint8_t* row = f.bits + (y * b.stride_h + ky) * f.row + x * step;
    for (int64_t k = 0; k < b.words; ++k, row += 4, weight += b.outputs) {
      const U mask = U{} + (k + 1 < b.words ? 0xffffffffu : b.last_mask);
      U w[V];
      for (int v = 0; v < V; ++v) __builtin_memcpy(&w[v], weight + v * L, sizeof w[v]);
      for (int p = 0; p < P; ++p) {
        const U a = broadcast(row + p * step);
        for (int v = 0; v < V; ++v) sums[p][v] += popcount((w[v] ^ a) & mask);
      }
    }
  }
  for (int p = 0; p < P; ++p) {
    int32_t set = 0;
    for (int64_t ky = 0; ky < b.kernel_h; ++ky) set += f.windows[(y * b.stride_h + ky) * (f.width + L) + x + p];
    const float* table = b.table + (b.row_class[y] + b.column_class[x + p]) * b.outputs;
    for (int v = 0; v < V; ++v) {
      const int64_t c = o + v * L;
      const F differ = __builtin_convertvector(reinterpret_cast<I>(sums[p][v]), F);
      const F out = load(table, c, L) - differ * load(b.count, c, L) + static_cast<float>(set) * load(b.ones, c, L);
      store(static_cast<T*>(b.out), ((image * b.out_h + y) * b.out_w + x + p) * b.outputs + c, out, L);
    }
  }
}

template <class T, int V>
inline void conv_row(const BinaryConv& b, const Framed& f, int64_t image, int64_t y, int64_t o) {
  int64_t x = 0;
  for (; x + 4 <= b.out_w; x += 4) conv_tile<T, 4, V>(b, f, image, y, x, o);
  for (; x < b.out_w; ++x) conv_tile<T, 1, V>(b, f, image, y, x, o);
}

template <class T>
void binary_conv_of(const BinaryConv& b, int64_t image) {
  const Framed f = framed(b, image);
  for (int64_t y = 0; y < b.out_h; ++y) {
    int64_t o = 0;
    for (; o + 4 * L <= b.outputs; o += 4 * L) conv_row<T, 4>(b, f, image, y, o);
    for (; o + 2 * L <= b.outputs; o += 2 * L) conv_row<T, 2>(b, f, image, y, o);
    for (; o < b.outputs; o += L) conv_row<T, 1>(b, f, image, y, o);
  }
  __builtin_free(f.bits);
}

void binary_conv(const BinaryConv& b, int64_t image) {
  (b.half ? binary_conv_of<uint16_t> : binary_conv_of<float>)(b, image);
}

}  // namespace
