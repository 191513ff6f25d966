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

// Set bits of each of `count` pixels of `words` words.
inline void count_pixels(const uint16_t* bits, int64_t count, int64_t words, int32_t* set) {
  int64_t x = 0;
  if (words == 1)
    for (; x + L <= count; x += L) {
      H some;
      __builtin_memcpy(&some, bits + x, sizeof some);
      const I counted = reinterpret_cast<I>(popcount(__builtin_convertvector(some, U)));
      __builtin_memcpy(set + x, &counted, sizeof counted);
    }
  for (; x < count; ++x) {
    set[x] = 0;
    for (int64_t k = 0; k < words; ++k) set[x] += __builtin_popcount(bits[x * words + k]);
  }
}

// One image's bits with a frame of zeros, and how many are set in each window.
struct Framed {
  int64_t row;                   // bytes
  uint8_t* bits;
  float* set;                    // [H'][W']
};

inline Framed framed(const BinaryConv& b, int64_t image) {
  const int64_t bytes = b.channels / 8, height = b.in_h + 2 * b.pad_h, width = b.in_w + 2 * b.pad_w;
  const int64_t row = width * bytes, size = (height * row + 64 + 63) / 64 * 64;
  auto* memory = static_cast<uint8_t*>(__builtin_malloc(static_cast<size_t>(size + 4 * (b.out_h * b.out_w + 2 * width))));
  __builtin_memset(memory, 0, static_cast<size_t>(size));
  auto* set = reinterpret_cast<float*>(memory + size);
  auto *pixels = reinterpret_cast<int32_t*>(set + b.out_h * b.out_w), *columns = pixels + width;
  const auto* source = reinterpret_cast<const uint8_t*>(b.bits) + image * b.in_h * b.in_w * bytes;
  for (int64_t y = 0; y < b.in_h; ++y)
    __builtin_memcpy(memory + (y + b.pad_h) * row + b.pad_w * bytes, source + y * b.in_w * bytes,
                     static_cast<size_t>(b.in_w * bytes));
  for (int64_t y = 0; y < b.out_h; ++y) {
    for (int64_t x = 0; x < width; ++x) columns[x] = 0;
    for (int64_t ky = 0; ky < b.kernel_h; ++ky) {
      const auto* words = reinterpret_cast<const uint16_t*>(memory + (y * b.stride_h + ky) * row);
      count_pixels(words, width, b.channels / 16, pixels);
      for (int64_t x = 0; x < width; ++x) columns[x] += pixels[x];
    }
    float* own = set + y * b.out_w;
    for (int64_t x = 0; x < b.out_w; ++x) own[x] = 0;
    for (int64_t kx = 0; kx < b.kernel_w; ++kx)
      for (int64_t x = 0; x < b.out_w; ++x) own[x] += static_cast<float>(columns[x * b.stride_w + kx]);
  }
  return {row, memory, set};
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
  const int64_t outputs = b.outputs, words = b.words, last = b.words - 1;
  const U last_mask = U{} + b.last_mask;
  U sums[P][V] = {};
  const uint32_t* weight = b.weight + o;
  for (int64_t ky = 0; ky < b.kernel_h; ++ky) {
    const uint8_t* row = f.bits + (y * b.stride_h + ky) * f.row + x * step;
    for (int64_t k = 0; k < words; ++k, row += 4, weight += outputs) {
      const U mask = k < last ? U{} - 1 : last_mask;
      U w[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) __builtin_memcpy(&w[v], weight + v * L, sizeof w[v]);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        const U a = broadcast(row + p * step);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sums[p][v] += popcount((w[v] ^ a) & mask);
      }
    }
  }
  T* out = static_cast<T*>(b.out) + ((image * b.out_h + y) * b.out_w + x) * outputs + o;
  const float* set = f.set + y * b.out_w + x;
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    const F count = load(b.count, o + v * L, L), ones = load(b.ones, o + v * L, L);
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      const float* table = b.table + (b.row_class[y] + b.column_class[x + p]) * outputs + o;
      const F differ = __builtin_convertvector(reinterpret_cast<I>(sums[p][v]), F);
      store(out + p * outputs, v * L, load(table, v * L, L) - differ * count + set[p] * ones, L);
    }
  }
}

template <class T, int V>
inline void conv_row(const BinaryConv& b, const Framed& f, int64_t image, int64_t y, int64_t o) {
  int64_t x = 0;
  constexpr int P = V == 1 ? 8 : 4;
  for (; x + P <= b.out_w; x += P) conv_tile<T, P, V>(b, f, image, y, x, o);
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
